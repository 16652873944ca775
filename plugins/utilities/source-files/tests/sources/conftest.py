"""Fixtures that the tests of several packages share."""

from local_servers.fixtures import googlesql_of_the_session, interruptible

__all__ = ["googlesql_of_the_session", "interruptible"]
