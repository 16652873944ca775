"""The files of BATCH and KEYS messages: where they are, what is in them, and their end."""

import contextlib
import gzip
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from target_bigquery_arrow.column_types import ColumnType, Kind, column_type
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import EXTRACTED_AT, METADATA, SEQUENCE, TABLE_VERSION
from target_bigquery_arrow.messages import Batch, Keys, Record, TooLong, lines_of
from target_bigquery_arrow.staging import staged_type

READ_ERRORS = (OSError, EOFError, zlib.error, ValueError, OverflowError, pa.ArrowException)
ROWS_AT_ONCE = 10_000
# The folder of a run, as our taps make it: their name, and what `tempfile.mkdtemp` adds.
HANDOVER_FOLDER = re.compile(r"tap-[a-z-]+-([A-Za-z0-9_.-]+-)?[a-z0-9_]{8}")
# What the tap says of a row beside its properties; a RECORD message has it in its envelope.
ENVELOPE = (EXTRACTED_AT, SEQUENCE, TABLE_VERSION)

_encode = msgspec.json.Encoder(decimal_format="number").encode


class BatchFile:
    """A Parquet file of a tap's, of which no more than the footer has been read.

    Attributes:
        path: where it is.
        rows: how many rows it says it has.
        size: its bytes.
        types: its columns, as Arrow would read them.
    """

    def __init__(self, stream: str, path: Path) -> None:
        """Read the footer.

        Raises:
            LoadError: the file is missing, damaged or not Parquet.
        """
        self.path = path
        self._stream = stream
        with reading(stream, path):
            self.size = path.stat().st_size
            self._footer = pq.read_metadata(path)
            schema = self._footer.schema.to_arrow_schema()
        self.rows: int = self._footer.num_rows
        self.types: dict[str, pa.DataType] = {field.name: field.type for field in schema}

    def null_count(self, name: str) -> int:
        """Return how many rows have no value in a column."""
        counted = self._null_count_in_footer(name)
        if counted is None:
            counted = sum(column.null_count for column in self._chunks(name))
        return counted

    def has_null_elements(self, name: str) -> bool:
        """Return whether there is a null in an array of a column."""
        # The footer counts arrays that are null or empty along with the nulls inside.
        if self._null_count_in_footer(name) == 0:
            return False
        return any(column.flatten().null_count for column in self._chunks(name))

    def records(self, properties: Mapping[str, Any], version: int | None) -> Iterator[Record]:
        """Read the rows as records, for what has to see each of them.

        Args:
            properties: those of the stream's SCHEMA: some texts are JSON.
            version: the version that the BATCH message names.
        """
        json_texts = [
            name
            for name, rule in properties.items()
            if column_type(rule).kind is Kind.JSON
            and staged_type(self.types.get(name, pa.null())) == ColumnType(Kind.STRING)
        ]
        left_out = {*ENVELOPE, *(self.types.keys() - properties.keys() - METADATA.keys())}
        with reading(self._stream, self.path), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE):
                self._require_finite(batch)
                for row in _whole_microseconds(batch).to_pylist():
                    extracted_at = row.get(EXTRACTED_AT)
                    for name in json_texts:
                        row[name] = None if row[name] is None else msgspec.Raw(row[name].encode())
                    for name in left_out:
                        row.pop(name, None)
                    yield Record(
                        self._stream,
                        msgspec.Raw(_encode(row)),
                        extracted_at and str(extracted_at),
                        version,
                    )

    def _require_finite(self, batch: pa.RecordBatch) -> None:
        """Refuse what JSON can't say.

        Raises:
            LoadError: there is a NaN or an infinity.
        """
        # Here, since it is slow to import and most files are loaded as they are.
        import pyarrow.compute as pc

        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            numbers = column.flatten() if pa.types.is_list(column.type) else column
            if (
                pa.types.is_floating(numbers.type)
                and pc.all(pc.is_finite(numbers)).as_py() is False
            ):
                message = (
                    f"Stream '{self._stream}', property '{name}': {self.path} holds a NaN or an "
                    f"infinity, which can't be mapped or flattened. Leave the stream out of "
                    f"`stream_maps`, deselect the property, or declare it as a string in the "
                    f"extractor's `schema`."
                )
                raise LoadError(message)

    def _null_count_in_footer(self, name: str) -> int | None:
        leaves = [
            self._footer.schema.column(index).path for index in range(self._footer.num_columns)
        ]
        own = [i for i, path in enumerate(leaves) if path == name or path.startswith(f"{name}.")]
        if len(own) != 1:  # names with dots, say
            return None
        groups = map(self._footer.row_group, range(self._footer.num_row_groups))
        statistics = [group.column(own[0]).statistics for group in groups]
        if not all(found and found.has_null_count for found in statistics):
            return None
        return sum(int(found.null_count) for found in statistics)

    def _chunks(self, name: str) -> Iterator[pa.Array]:
        with reading(self._stream, self.path), pq.ParquetFile(self.path) as file:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, columns=[name]).column(name).chunks


class UnreadableFileError(LoadError):
    """A file can't be read.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path, message: str) -> None:
        """Take the error."""
        super().__init__(message)
        self.path = path


def json_lines(stream: str, path: Path, compression: str | None) -> Iterator[bytes]:
    """Read the lines of a jsonl file.

    Raises:
        LoadError: the file is missing or damaged, or its compression isn't known.
    """
    if compression not in (None, "none", "gzip"):
        message = (
            f"Stream '{stream}': the BATCH file {path} has compression '{compression}', which "
            f"isn't known. Set `batch_config.encoding.compression` of the extractor to `gzip`."
        )
        raise LoadError(message)
    with (
        reading(stream, path),
        gzip.open(path) if compression == "gzip" else path.open("rb") as file,
    ):
        for number, line in enumerate(lines_of(file), start=1):
            if line.__class__ is TooLong:
                message = (
                    f"Stream '{stream}': line {number} of the BATCH file {path} {TooLong.REASON}. "
                    f"Leave the large property out in the extractor's `select`, or correct it at "
                    f"the source."
                )
                raise LoadError(message)
            if text := line.strip():
                yield text


def local_paths(message: Batch | Keys) -> list[Path]:
    """Return where the files of a message are.

    Raises:
        LoadError: one isn't on this machine.
    """
    return [_local_path(message.stream, address) for address in message.manifest]


def _local_path(stream: str, address: str) -> Path:
    url = urlsplit(address)
    if not url.scheme:
        return Path(address)
    if url.scheme == "file" and url.netloc in ("", "localhost"):
        return Path(unquote(url.path))
    message = (
        f"Stream '{stream}': the BATCH file {address} is not on this machine. Set "
        f"`batch_config.storage.root` of the extractor to a local folder, or leave `batch_config` "
        f"out of its settings."
    )
    raise LoadError(message)


class TemporaryFiles:
    """Files that a tap has handed over: they go when they are loaded, or when the run ends.

    Only a Parquet file in a folder that a tap of ours made for its run is ever removed, and none
    that couldn't be read.
    """

    def __init__(self) -> None:
        self._paths: set[Path] = set()

    def add(self, paths: Iterable[Path]) -> None:
        """Take files over."""
        self._paths.update(path for path in paths if _is_handed_over(path))

    def keep(self, path: Path) -> None:
        """Leave a file where it is."""
        self._paths.discard(path)

    def remove(self, *paths: Path) -> None:
        """Remove files that were handed over, and their folder if it is empty then."""
        for path in self._paths.intersection(paths):
            self._paths.discard(path)
            with contextlib.suppress(OSError):
                if _is_handed_over(path):
                    path.unlink(missing_ok=True)
                    path.parent.rmdir()

    def close(self) -> None:
        """Remove what is left."""
        self.remove(*self._paths)


def _is_handed_over(path: Path) -> bool:
    """Tell whether a path is this user's file in a tap's private folder."""
    try:
        file, folder = path.lstat(), path.parent.lstat()
    except (OSError, ValueError):
        return False
    return (
        path.is_absolute()
        and ".." not in path.parts
        and path.suffix == ".parquet"
        and stat.S_ISREG(file.st_mode)
        and stat.S_ISDIR(folder.st_mode)
        and stat.S_IMODE(folder.st_mode) == 0o700
        and folder.st_uid == file.st_uid == os.getuid()
        and HANDOVER_FOLDER.fullmatch(path.parent.name) is not None
    )


def _whole_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Drop the digits that neither BigQuery nor Python has."""
    for index, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            column = batch.column(index).cast(pa.timestamp("us", field.type.tz), safe=False)
        elif field.type == pa.time64("ns"):
            column = batch.column(index).cast(pa.time64("us"), safe=False)
        else:
            continue
        batch = batch.set_column(index, field.name, column)
    return batch


@contextmanager
def reading(stream: str, path: Path) -> Iterator[None]:
    """Say of which file it is that it can't be read.

    Raises:
        LoadError: it can't.
    """
    try:
        yield
    except FileNotFoundError as error:
        reason = "is not there"
        raise _unreadable(stream, path, reason) from error
    except LoadError:
        raise
    except READ_ERRORS as error:
        reason = f"can't be read ({str(error).partition('\n')[0].rstrip('.')})"
        raise _unreadable(stream, path, reason) from error


def _unreadable(stream: str, path: Path, reason: str) -> LoadError:
    return UnreadableFileError(
        path,
        f"Stream '{stream}': the file {path} {reason}. Run again, so that the extractor writes "
        f"it again. If it happens once more, look for a full disk, or for what clears that folder.",
    )
