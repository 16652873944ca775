"""A second Postgres database, of another team, for the example of such a source."""
