"""Dagster's view of this Meltano project."""
