"""Fixtures that the tests of several packages share."""

from local_servers.fixtures import interruptible

__all__ = ["interruptible"]
