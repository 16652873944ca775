"""Files on their way to the loader: a private folder, and Parquet files of a handy size in it."""

import atexit
import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from tap_postgres_arrow.errors import TapError
from tap_postgres_arrow.output import Output

PREFIX = "tap-postgres-arrow-"
IN_USE = "in-use"
# A folder older than this is removed in any case: its loader has ended by then.
ABANDONED_SECONDS = 24 * 60 * 60
# How much may wait for the loader, in files of `batch_bytes`, before the tap waits for it.
FILES_WAITING = 8
LOOK_SECONDS = 0.1


class BatchDir:
    """The folder of a run. The loader removes each file, and at last the folder, once loaded."""

    def __init__(self, batch_bytes: int, output: Output) -> None:
        """Make the folder, readable by this user only, and clear away what killed runs left."""
        _remove_abandoned()
        self.batch_bytes = batch_bytes
        self._output = output
        self._lock = threading.Lock()
        self._count = 0
        # The files that were sent, with their sizes, until they are seen to be gone.
        self._sent: dict[Path, int] = {}
        self._files_go_away = False
        # Eight characters at the end, as of `mkdtemp`: by such names the loader knows folders.
        self._folder = Path(tempfile.gettempdir()) / f"{PREFIX}{_run_id()}-{secrets.token_hex(4)}"
        self._in_use: IO[str] | None = None
        # A signal may end the process before anybody can close the folder.
        atexit.register(self.close)
        self._folder.mkdir(mode=0o700)
        # The loader removes an empty folder: it isn't empty before the tap has ended. The lock
        # goes with the tap, however that ends.
        self._in_use = (self._folder / IN_USE).open("w")
        fcntl.flock(self._in_use, fcntl.LOCK_EX)

    def new_path(self) -> Path:
        """Return the path of the next file."""
        with self._lock:
            self._count += 1
            return self._folder / f"{self._count}.parquet"

    def announce(self, urls: Sequence[str]) -> None:
        """Note files that a message is about to announce: from then on, the loader removes them."""
        with self._lock:
            for path in map(Path.from_uri, urls):
                self._sent[path] = path.stat().st_size

    def wait_for_room(self) -> None:
        """Wait while the loader has much to do, so that files don't fill the disk.

        Only a loader that is known to remove files is waited for.

        Raises:
            TapError: the reader of the tap's output has gone.
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
        """Remove the files that were not announced, or all if the reader has gone."""
        for path in self._folder.glob("*"):
            if path not in self._sent or not self._output.has_reader:
                path.unlink(missing_ok=True)
        if self._in_use:
            self._in_use.close()
        with contextlib.suppress(OSError):
            self._folder.rmdir()
        atexit.unregister(self.close)


class ParquetFiles:
    """Writes one stream's batches to files, and announces each as soon as it is full."""

    def __init__(
        self, batch_dir: BatchDir, schema: pa.Schema, send: Callable[[str], None], *, waits: bool
    ) -> None:
        """Prepare to write. Without a batch there is no file.

        Args:
            batch_dir: the folder.
            schema: the columns.
            send: takes each file's URL.
            waits: whether to wait for a loader that has much to do. It must know of the files.
        """
        self._batch_dir = batch_dir
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
                self._batch_dir.wait_for_room()
            self._path = self._batch_dir.new_path()
            self._writer = pq.ParquetWriter(
                self._path,
                self._schema,
                compression="zstd",
                compression_level=1,
                # Constants only; elsewhere it costs more than it saves.
                use_dictionary=[name for name in self._schema.names if name.startswith("_sdc_")],
            )
        self._writer.write_batch(batch)
        if self._path.stat().st_size >= self._batch_dir.batch_bytes:
            self.close()

    def close(self) -> None:
        """Finish the current file and announce it.

        Raises:
            OSError: the disk is full.
        """
        if self._writer is None or self._path is None:
            return
        self._writer.close()
        self._send(self._path.as_uri())
        self._writer = self._path = None

    def discard(self) -> None:
        """Remove the current file, if there is one."""
        if self._writer and self._path:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._path.unlink(missing_ok=True)
        self._writer = self._path = None


@contextmanager
def writing(stream: str) -> Iterator[None]:
    """Name the stream in the error when its files can't be written.

    Raises:
        TapError: they can't be written.
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
    folders = [
        folder
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
        if _is_ours(folder) and not _is_locked(folder / IN_USE)
    ]
    if not folders:
        return
    pipes = _open_pipes()
    for folder in folders:
        with contextlib.suppress(OSError):
            is_old = time.time() - folder.stat().st_mtime > ABANDONED_SECONDS
            if is_old or _has_ended(folder, pipes):
                shutil.rmtree(folder)


def _is_ours(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return folder.stat(follow_symlinks=False).st_uid == os.getuid()
    return False


def _is_locked(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


# A folder's name says who may still need its files once the tap has ended: what reads the pipe
# that the tap writes to, and the process that started both (Meltano, which ends after the loader).


def _run_id() -> str:
    """Return a name for what waits for this run: its namespace, its starter, its pipe."""
    parent = os.getppid()
    return "-".join(map(str, (_namespace(), parent, _start_time(parent), _pipe(1))))


def _has_ended(folder: Path, pipes: Collection[int]) -> bool:
    """Tell whether no process is left that could need the files of a folder; False if unsure."""
    try:
        namespace, parent, started, pipe = map(int, folder.name.removeprefix(PREFIX).split("-")[:4])
    except ValueError:
        return False
    if not namespace or namespace != _namespace() or pipe in pipes:
        return False
    # Messages that are in a file may be loaded later, unless they break off.
    if not pipe and not (folder / IN_USE).exists():
        return False
    # One who starts another run of the tap isn't waiting for that one.
    return parent == os.getppid() or _start_time(parent) != started


def _namespace() -> int:
    """Return in which system's (or container's) numbers processes are named; 0 for unknown."""
    with contextlib.suppress(OSError):
        return Path("/proc/self/ns/pid").stat().st_ino
    return 0


def _start_time(process: int) -> int:
    """Return when a process was started, in clock ticks since boot; 0 if there is none."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        # Field 22; the second is the command in parentheses, which may have any in it. Source:
        # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    return 0


def _pipe(descriptor: int) -> int:
    """Return the number of the pipe behind a descriptor; 0 if it is none."""
    with contextlib.suppress(OSError):
        found = os.fstat(descriptor)
        return found.st_ino if stat.S_ISFIFO(found.st_mode) else 0
    return 0


def _open_pipes() -> set[int]:
    """Return the pipes that any process of this user has open."""
    pipes = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith("pipe:["):
                pipes.add(int(target[6:-1]))
    return pipes
