"""`stack new-staging`: the staging models of a source, written from its tap's catalog."""
