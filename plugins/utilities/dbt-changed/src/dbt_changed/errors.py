"""What is said in one line, without a traceback."""


class BuildError(Exception):
    """Nothing can be decided or built; the message says what to do."""
