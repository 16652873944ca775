"""Tells Metabase of tables: those of the last dbt build, and raw tables without staging."""
