"""Singer target for BigQuery: what it acknowledged is in BigQuery."""
