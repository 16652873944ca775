"""Local Postgres and BigQuery servers, which tests, benches and the sandbox share."""
