"""`stack new-source`: a source's one file, from a tap's name, a REST or a Postgres URL."""
