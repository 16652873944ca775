"""A source's staging folder: which of its files are as they were written, and which were edited.

The folder keeps a list, `.generated`: the checksum of what was last made for each file, as
`sha256sum --check` reads it. A file that isn't in the list, or differs from it, is somebody's work.
It is in the repository, so that a clone knows as much.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

LIST = ".generated"


class Folder:
    """The files of one source."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = (self.text(LIST) or "").splitlines()
        entries = (line.split(maxsplit=1) for line in lines if line.strip())
        self.listed = {name: total for total, name in entries}

    def text(self, name: str) -> str | None:
        """Return what a file says; None if it isn't there."""
        try:
            return (self.path / name).read_text()
        except FileNotFoundError:
            return None

    def models(self) -> list[str]:
        """Return the models that are there, in the order in which they were written."""
        there = [name for name in self.listed if (self.path / name).exists()]
        there += sorted(path.name for path in self.path.glob("*.sql"))
        names = (name.removesuffix(".sql") for name in there if name.endswith(".sql"))
        return list(dict.fromkeys(names))

    def removed(self) -> set[str]:
        """Return the models that were written once and that somebody has removed."""
        return {
            name.removesuffix(".sql")
            for name in self.listed
            if name.endswith(".sql") and not (self.path / name).exists()
        }

    def is_edited(self, name: str) -> bool:
        """Return whether a file that is there is somebody's work."""
        text = self.text(name)
        return text is not None and self.listed.get(name) != checksum(text)

    def write(self, files: Mapping[str, str | None], listed: Mapping[str, str]) -> None:
        """Write and remove files, and the list; if one can't be written, none is.

        Args:
            files: the text of each; None removes it.
            listed: the checksum of each file in the list.
        """
        texts = {name: text for name, text in files.items() if text is not None}
        texts[LIST] = "".join(f"{total}  {name}\n" for name, total in listed.items())
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = {name: self.path / f".{name}.new" for name in texts}
        try:
            for name, path in temporary.items():
                path.write_text(texts[name])
            for name, path in temporary.items():
                path.replace(self.path / name)
        finally:
            for path in temporary.values():
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.path.rmdir()  # if nothing came into it
        for name in files.keys() - texts.keys():
            (self.path / name).unlink(missing_ok=True)


def checksum(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
