"""The errors a user sees: each names the thing, the place and the mend."""


class LoadError(Exception):
    """The load can't go on. Ends the process with exit code 1 and no further state."""
