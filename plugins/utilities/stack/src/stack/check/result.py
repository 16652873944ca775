"""What a check has found: one line, and how to mend what is wrong."""

from dataclasses import dataclass

from stack.terminal import plain


@dataclass(frozen=True)
class Result:
    """One line of the report."""

    name: str
    """What was looked at."""
    ok: bool | None
    """None where it could not be looked at, which is no fault of its own."""
    detail: str
    mend: str | None = None
    """What to do: beside a fault; or beside something that works and that one should know of."""

    def __post_init__(self) -> None:
        """Make it plain: it may quote what others have said."""
        for name in ("name", "detail", "mend"):
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, plain(text).replace("\n", " "))


def passed(name: str, detail: str) -> Result:
    """Say that something is as it should be."""
    return Result(name, True, detail)


def noted(name: str, detail: str, mend: str) -> Result:
    """Say that something works, with a consequence."""
    return Result(name, True, detail, mend)


def failed(name: str, detail: str, mend: str) -> Result:
    """Say what is wrong, and how to mend it."""
    return Result(name, False, detail, mend)


def skipped(name: str, detail: str) -> Result:
    """Say why something was not looked at."""
    return Result(name, None, detail)
