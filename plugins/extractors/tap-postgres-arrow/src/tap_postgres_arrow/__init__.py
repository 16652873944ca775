"""A Singer tap for Postgres that moves columns, not rows."""
