"""Google's analyser for all tests of the session."""

from local_servers.fixtures import googlesql_of_the_session

__all__ = ["googlesql_of_the_session"]
