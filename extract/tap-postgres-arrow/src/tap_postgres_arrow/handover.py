"""Files on their way to the loader: a private folder, and Parquet files of a handy size in it."""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tap_postgres_arrow.errors import TapError
from tap_postgres_arrow.output import Output

PREFIX = "tap-postgres-arrow-"
# What killed runs left behind is removed after this time: their loaders have ended by then.
ABANDONED_SECONDS = 24 * 60 * 60
# How much may wait for the loader, in files of `batch_bytes`, before the tap waits for it.
FILES_WAITING = 8
LOOK_SECONDS = 0.1


class Handover:
    """The folder of a run. The loader removes each file, and at last the folder, once loaded."""

    def __init__(self, batch_bytes: int, output: Output) -> None:
        """Make the folder, readable by this user only, and clear away what killed runs left."""
        _remove_abandoned()
        self.batch_bytes = batch_bytes
        self._output = output
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        # The loader removes an empty folder: it isn't empty before the tap has ended.
        (self._folder / "in-use").touch()
        self._lock = threading.Lock()
        self._count = 0
        # The files that were sent, with their sizes, until they are seen to be gone.
        self._sent: dict[Path, int] = {}
        self._files_go_away = False

    def new_path(self) -> Path:
        """Return the path of the next file."""
        with self._lock:
            self._count += 1
            return self._folder / f"{self._count}.parquet"

    def send(self, path: Path) -> str:
        """Give a finished file away; return its URL."""
        with self._lock:
            self._sent[path] = path.stat().st_size
        return path.as_uri()

    def wait_for_room(self) -> None:
        """Wait while the loader has much to do, so that files don't fill the disk.

        Only a loader that is known to remove files is waited for.

        Raises:
            TapError: nobody reads the tap's output any more.
        """
        while self._waiting_bytes() > FILES_WAITING * self.batch_bytes and self._files_go_away:
            self._output.require_reader()
            time.sleep(LOOK_SECONDS)

    def _waiting_bytes(self) -> int:
        with self._lock:
            gone = [path for path in self._sent if not path.exists()]
            self._files_go_away = self._files_go_away or bool(gone)
            for path in gone:
                del self._sent[path]
            return sum(self._sent.values())

    def close(self) -> None:
        """Remove what was not sent, or everything if nobody is there to read it."""
        for path in self._folder.glob("*"):
            if path not in self._sent or not self._output.has_reader:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()


class ParquetFiles:
    """Write one stream's batches to files, and give each away as soon as it is full."""

    def __init__(
        self, handover: Handover, schema: pa.Schema, send: Callable[[str], None], *, waits: bool
    ) -> None:
        """Prepare to write. Without a batch there is no file.

        Args:
            handover: the folder.
            schema: the columns.
            send: takes each file's URL.
            waits: whether to wait for a loader that has much to do. It must know of the files.
        """
        self._handover = handover
        self._schema = schema
        self._send = send
        self._waits = waits
        self._path: Path | None = None
        self._writer: pq.ParquetWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Write a batch.

        Raises:
            OSError: the disk is full.
        """
        if self._writer is None or self._path is None:
            if self._waits:
                self._handover.wait_for_room()
            self._path = self._handover.new_path()
            self._writer = pq.ParquetWriter(
                self._path,
                self._schema,
                compression="zstd",
                compression_level=1,
                # Constants only; elsewhere it costs more than it saves.
                use_dictionary=[name for name in self._schema.names if name.startswith("_sdc_")],
            )
        self._writer.write_batch(batch)
        if self._path.stat().st_size >= self._handover.batch_bytes:
            self.close()

    def close(self) -> None:
        """Finish the file at hand and give it away.

        Raises:
            OSError: the disk is full.
        """
        if self._writer is None or self._path is None:
            return
        self._writer.close()
        self._send(self._handover.send(self._path))
        self._writer = self._path = None


@contextmanager
def writing(stream: str) -> Iterator[None]:
    """Say whose files they are that can't be written.

    Raises:
        TapError: they can't.
    """
    try:
        yield
    except OSError as error:
        message = (
            f"Stream '{stream}': can't write to {tempfile.gettempdir()} "
            f"({error.strerror or error}). Free some space there, or set TMPDIR to a larger disk."
        )
        raise TapError(message) from error


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            found = folder.stat()
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder)
