"""Builds the dbt models whose data, code or date has changed, and starts dbt only for them."""
