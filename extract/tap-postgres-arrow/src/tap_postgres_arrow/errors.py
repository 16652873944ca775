"""The errors a user sees: each names the thing, the place and the mend."""


class TapError(Exception):
    """The extraction can't go on. Ends the process with exit code 1 and no further state."""
