"""A second Postgres database, of another team: what the example of such a source reads."""
