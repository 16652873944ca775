"""What comes in files ends up as what comes in records does, whichever tap wrote them."""

import datetime
import gzip
import json
import math
import signal
from decimal import Decimal
from hashlib import md5
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from target_bigquery_arrow.errors import LoadError

from .driver import (
    Loader,
    Message,
    activate,
    batch_dir,
    files,
    lines,
    parquet,
    read_states,
    record,
    schema,
    state,
)
from .waiting import wait_until

ID = {"id": {"type": "integer"}}
NOTE = ID | {"note": {"type": ["null", "string"]}}
THINGS = schema("things", NOTE)
UTC = datetime.UTC
MOMENT = datetime.datetime(2024, 2, 29, 23, 59, 59, 999_999, UTC)
DAY = datetime.date(1, 1, 1)
NOON = datetime.time(12, 0, 0, 1)
TIMESTAMP = {"type": "string", "format": "date-time"}
BASE64 = {"type": "string", "contentEncoding": "base64"}
BIGNUMERIC = {"type": "string", "format": "singer.decimal"}
NUMERIC = {"type": "number", "multipleOf": 1e-9}
us = pa.timestamp("us", "UTC")

# What tap-postgres-arrow writes: the JSON Schema, the type in the file, and two values of it.
OURS: dict[str, tuple[Any, pa.DataType, Any, Any]] = {
    "small": ({"type": "integer"}, pa.int16(), -(2**15), 2**15 - 1),
    "big": ({"type": "integer"}, pa.int64(), -(2**63), 2**63 - 1),
    "real": ({"type": "number"}, pa.float32(), 0.5, -0.25),
    "double": ({"type": "number"}, pa.float64(), 1e308, 5e-324),
    "flag": ({"type": "boolean"}, pa.bool_(), True, False),
    "text": ({"type": "string"}, pa.string(), "", "Ærø 🛠"),
    "day": ({"type": "string", "format": "date"}, pa.date32(), DAY, datetime.date.max),
    "hour": ({"type": "string", "format": "time"}, pa.time64("us"), datetime.time.min, NOON),
    "at": (TIMESTAMP, us, MOMENT, datetime.datetime(1, 1, 1, tzinfo=UTC)),
    "amount": (NUMERIC, pa.decimal128(38, 9), Decimal("9" * 29 + "." + "9" * 9), Decimal(0)),
    "texts": ({"type": "array", "items": {"type": "string"}}, pa.list_(pa.string()), ["a"], []),
    "ints": ({"type": "array", "items": {"type": "integer"}}, pa.list_(pa.int32()), [2, 1], [0]),
    "json": ({}, pa.string(), '{"a": [1, null, "é"]}', '"text"'),
    "wide": (BIGNUMERIC, pa.string(), "-12345678901234567890.000000000000000001", "1.10"),
    "bytes": (BASE64, pa.string(), "AP8=", ""),
    "An odd-name 'é'": ({"type": "string"}, pa.string(), "x", "y"),
}
# What other taps may write of a property, and what they send in a record.
OTHERS: dict[str, tuple[Any, pa.Array, Any]] = {
    "int_text": ({"type": "integer"}, pa.array(["12"]), 12),
    "float_text": ({"type": "number"}, pa.array(["1.5"]), 1.5),
    "bool_text": ({"type": "boolean"}, pa.array(["true"]), True),
    "day_text": ({"type": "string", "format": "date"}, pa.array(["2024-01-31"]), "2024-01-31"),
    "time_text": ({"type": "string", "format": "time"}, pa.array(["10:11:12.5"]), "10:11:12.5"),
    "moment_text": (TIMESTAMP, pa.array(["2024-01-31T10:00:00.5Z"]), "2024-01-31T10:00:00.5Z"),
    "numeric_text": (NUMERIC, pa.array(["1.25"]), 1.25),
    "without_zone": (TIMESTAMP, pa.array([MOMENT.replace(tzinfo=None)]), MOMENT.isoformat()),
    "oslo": (TIMESTAMP, pa.array([MOMENT], pa.timestamp("us", "Europe/Oslo")), str(MOMENT)),
    "from_day": (TIMESTAMP, pa.array([datetime.date(2024, 1, 1)]), "2024-01-01"),
    "int_to_numeric": (NUMERIC, pa.array([7]), 7),
    "int_to_float": ({"type": "number"}, pa.array([7]), 7),
    "narrow_decimal": (NUMERIC, pa.array([Decimal("1.25")], pa.decimal128(5, 2)), 1.25),
    "wide_decimal": (BIGNUMERIC, pa.array([Decimal("0.1")], pa.decimal128(38, 18)), "0.1"),
    "int_to_text": ({"type": "string"}, pa.array([7]), "7"),
    "int_to_json": ({}, pa.array([7]), 7),
    "list_to_json": ({"type": "array"}, pa.array([[1, 2]]), [1, 2]),
    "moments": (
        {"type": "array", "items": TIMESTAMP},
        pa.array([[MOMENT.replace(tzinfo=None), datetime.datetime(2024, 1, 1)]]),
        [MOMENT.isoformat(), "2024-01-01T00:00:00Z"],
    ),
    "dictionary": ({"type": "string"}, pa.array(["x"]).dictionary_encode(), "x"),
    "large_text": ({"type": "string"}, pa.array(["x"], pa.large_string()), "x"),
    "nothing": ({"type": ["null", "boolean"]}, pa.nulls(1), None),
    "no_json": ({}, pa.nulls(1), None),
}
# What load jobs don't take: such files are read as records.
SLOW: dict[str, tuple[Any, pa.Array, Any]] = {
    "binary": (BASE64, pa.array([b"\x00\xff"]), "AP8="),
    "struct": ({"type": "object"}, pa.array([{"a": 1.5, "b": [1]}]), {"a": 1.5, "b": [1]}),
    "unsigned": ({"type": "integer"}, pa.array([2**63 - 1], pa.uint64()), 2**63 - 1),
    "nanoseconds": (TIMESTAMP, pa.array([MOMENT], pa.timestamp("ns", "UTC")), MOMENT.isoformat()),
    "json": ({"type": "object"}, pa.array(['{"a": 1.10}']), {"a": Decimal("1.10")}),
    "name!": ({"type": "string"}, pa.array(["x"]), "x"),
}


def batch(directory: Path, columns: Any, stream: str = "things", **others: Any) -> Message:
    return files("BATCH", stream, parquet(directory, columns), **others)


def notes(directory: Path, *rows: tuple[int, str], **others: Any) -> Message:
    ids, texts = zip(*rows, strict=True)
    return batch(directory, {"id": list(ids), "note": list(texts)}, **others)


def test_our_files_are_worth_their_records(loader: Loader, tmp_path: Path) -> None:
    properties = ID | {name: rule for name, (rule, *_) in OURS.items()}
    rows = [{name: column[which] for name, column in OURS.items()} for which in (2, 3)]
    rows.append(dict.fromkeys(OURS))
    columns = {name: pa.array([row[name] for row in rows], OURS[name][1]) for name in OURS}
    sent = [
        row | {"id": number, "json": row["json"] and json.loads(row["json"])}
        for number, row in enumerate(rows)
    ]
    assert loader.load(
        schema("records", properties),
        *(record("records", row) for row in sent),
        schema("files", properties),
        batch(tmp_path, {"id": [0, 1, 2]} | columns, "files"),
        state({"done": True}),
    ) == [{"done": True}]
    assert loader.columns("files") == loader.columns("records")
    assert loader.by_id("files") == loader.by_id("records")


@pytest.mark.parametrize("columns", [OTHERS, SLOW], ids=["loaded as they are", "read as records"])
def test_other_taps_files_are_worth_their_records(
    loader: Loader, tmp_path: Path, columns: dict[str, tuple[Any, pa.Array, Any]]
) -> None:
    properties = ID | {name: rule for name, (rule, *_) in columns.items()}
    properties |= {"absent": {"type": "array", "items": {"type": "string"}}}
    arrays = {name: array for name, (_, array, _) in columns.items()}
    values = {name: value for name, (*_, value) in columns.items()}
    loader.load(
        schema("records", properties),
        record("records", {"id": 1} | values),
        schema("files", properties),
        batch(tmp_path, {"id": [1]} | arrays, "files"),
    )
    assert loader.by_id("files") == loader.by_id("records")


def test_what_a_tap_says_of_its_rows_is_kept(loader: Loader, tmp_path: Path) -> None:
    metadata = {
        "_sdc_extracted_at": pa.array([MOMENT], us),
        "_sdc_sequence": [17],
        "_sdc_table_version": [3],
    }
    loader.load(THINGS, batch(tmp_path, {"id": [1]} | metadata, version=3))
    loader.load(THINGS, batch(tmp_path, {"id": [2]}))
    first, second = loader.query("select * from things order by id")
    assert (first["_sdc_extracted_at"], first["_sdc_sequence"]) == (MOMENT, 17)
    assert (first["_sdc_table_version"], second["_sdc_table_version"]) == (3, None)
    assert first["_sdc_received_at"] > MOMENT < second["_sdc_extracted_at"]
    assert first["_sdc_deleted_at"] is second["_sdc_deleted_at"] is None
    assert second["_sdc_sequence"] > 17


def test_the_latest_of_each_key_wins_in_the_order_of_arrival(
    loader: Loader, tmp_path: Path
) -> None:
    loader.load(
        THINGS,
        record("things", {"id": 1, "note": "first"}),
        notes(tmp_path, (1, "second"), (2, "second")),
        notes(tmp_path, (1, "third")),
        record("things", {"id": 2, "note": "last"}),
    )
    assert loader.by_id("things") == {1: {"id": 1, "note": "third"}, 2: {"id": 2, "note": "last"}}


def test_rows_of_one_file_that_share_a_key_are_reported(
    loader: Loader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader.load(THINGS, notes(tmp_path, (1, "a"), (1, "b"), (2, "c")))
    assert len(loader.by_id("things")) == 2
    assert "'things': 1 rows share a key" in caplog.text


def test_a_stream_without_a_key_is_appended(loader: Loader, tmp_path: Path) -> None:
    log = schema("log", NOTE, keys=())
    sequence = {"_sdc_sequence": [1, 1]}
    rows = [batch(tmp_path, {"id": [1, 1]} | sequence, "log") for _ in "ab"]
    loader.load(log, *rows, batch(tmp_path, {"id": [2]}, "log"))
    assert sorted(row["id"] for row in loader.rows("log")) == [1, 1, 1, 1, 2]


def test_a_full_read_in_files_ends_with_what_the_source_has(loader: Loader, tmp_path: Path) -> None:
    for version, rows in enumerate([((1, "a"), (2, "b")), ((2, "c"),)], start=1):
        proof = activate("things", version, max_delete_fraction=0.5)
        loader.load(THINGS, notes(tmp_path, *rows, version=version), proof)
    assert loader.by_id("things") == {2: {"id": 2, "note": "c"}}


def test_a_table_follows_the_schema_of_its_files(loader: Loader, tmp_path: Path) -> None:
    loader.load(schema("things", ID | {"a": {"type": "string"}}), batch(tmp_path, {"id": [1]}))
    integer = schema("things", ID | {"a": {"type": "integer"}, "b": {"type": "integer"}})
    loader.load(integer, batch(tmp_path, {"id": [1], "a": [5], "b": [6]}))
    assert loader.rows("things") == [{"id": 1, "a": "5", "b": 6}]


def test_columns_that_are_not_in_the_schema_are_reported_once_or_refused(
    loader: Loader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = [THINGS, *(batch(tmp_path, {"id": [n], "extra": [n]}) for n in (1, 2))]
    loader.load(*pipe)
    assert sorted(loader.by_id("things")) == [1, 2]
    assert caplog.text.count("'extra'") == 1
    loader.settings["schema_drift"] = "fail"
    with pytest.raises(LoadError, match="'extra'"):
        loader.load(*pipe)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_files_of_json_lines(loader: Loader, tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "rows"
    text = lines([{"id": 1, "note": "a"}, {"id": 2}, b"\n", {"id": 1, "note": "b"}])
    path.write_bytes(gzip.compress(text) if compression else text)
    message = files("BATCH", "things", path) | {"encoding": {"format": "jsonl"}}
    message["encoding"]["compression"] = compression
    assert loader.load(THINGS, message, state(1)) == [1]
    assert loader.by_id("things") == {1: {"id": 1, "note": "b"}, 2: {"id": 2, "note": None}}
    if compression:
        path.write_bytes(path.read_bytes()[:-12])
        with pytest.raises(LoadError, match=r"the file .*rows can't be read"):
            loader.load(THINGS, message)


def test_stream_maps_see_every_row(loader: Loader, tmp_path: Path) -> None:
    loader.settings["stream_maps"] = {"things": {"id": "md5(id)", "note": None, "n": "n * 2"}}
    properties = {"id": {"type": "string"}, "note": {}, "n": NUMERIC, "tags": {}}
    columns = {"id": ["x", "y"], "note": ["1", None], "n": [Decimal("1.1"), Decimal(2)]}
    loader.load(
        schema("things", properties),
        batch(tmp_path, columns | {"tags": ['["a"]', None], "_sdc_sequence": [1, 1]}),
    )
    assert loader.by_id("things") == {
        md5(b"x").hexdigest(): {"id": md5(b"x").hexdigest(), "n": Decimal("2.2"), "tags": ["a"]},
        md5(b"y").hexdigest(): {"id": md5(b"y").hexdigest(), "n": Decimal(4), "tags": None},
    }


def test_a_nan_is_loaded_as_it_is_and_never_mapped_to_nothing(
    loader: Loader, tmp_path: Path
) -> None:
    numbers = schema("things", ID | {"x": {"type": "number"}})
    columns = {"id": [1, 2], "x": [float("nan"), float("inf")], "_sdc_sequence": [1, 1]}
    loader.load(numbers, batch(tmp_path, columns))
    found = loader.by_id("things")
    assert math.isnan(found[1]["x"])
    assert found[2]["x"] == math.inf
    loader.settings["stream_maps"] = {"things": {"x": "x"}}
    with pytest.raises(LoadError, match=r"property 'x': .* holds a NaN or an infinity"):
        loader.load(numbers, batch(tmp_path, columns))


def test_interleaved_streams(loader: Loader, tmp_path: Path) -> None:
    others = schema("others", NOTE)
    loader.load(
        THINGS,
        others,
        *(
            batch(tmp_path, {"id": [number], "_sdc_sequence": [1]}, stream)
            for number in range(3)
            for stream in ("things", "others")
        ),
    )
    assert sorted(loader.by_id("things")) == sorted(loader.by_id("others")) == [0, 1, 2]


def damaged_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)


BAD_FILES: dict[str, tuple[Any, str]] = {
    "missing": (Path.unlink, "parquet is not there"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-20]), "can't be read"),
    "empty": (lambda path: path.write_bytes(b""), "can't be read"),
    "damaged": (damaged_page, ".parquet"),
}


@pytest.mark.parametrize("damage", BAD_FILES)
def test_a_bad_file_keeps_back_its_own_state_and_no_other(
    loader: Loader, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    good, bad = (parquet(tmp_path, {"id": [1], "note": ["x" * 99]}) for _ in "ab")
    change, error = BAD_FILES[damage]
    change(bad)
    pipe = [schema("others", NOTE), files("BATCH", "others", good), state("others")]
    pipe += [THINGS, files("BATCH", "things", bad), state("things")]
    assert loader.invoke(*pipe) == 1
    output, log = capfd.readouterr()
    assert read_states(output.encode()) == ["others"]
    assert error in log.splitlines()[-1]
    assert "things" in log.splitlines()[-1]
    assert "Traceback" not in log
    assert loader.rows("others")
    assert "things" not in loader.tables() or not loader.rows("things")


NULLS_INSIDE = pa.array([["a", None]])
TEXTS = {"texts": {"type": "array", "items": {"type": "string"}}}


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"note": ["a", "b"]}, "key property 'id' is missing or null in 2 of 2 records"),
        ({"id": [1, None]}, "key property 'id' is missing or null in 1 of 2 records"),
        ({"id": [1], "at": [1.5]}, "property 'at': its files hold double, which can't become TIME"),
        (
            {"id": [1], "at": [{"a": 1}]},
            "'at': its files hold struct<a: int64>, which can't",
        ),
        ({"id": [1], "texts": NULLS_INSIDE}, "'texts': a null inside an array does not fit ARRAY"),
    ],
)
def test_what_a_column_cannot_hold(
    loader: Loader, tmp_path: Path, columns: Any, error: str
) -> None:
    things = schema("things", NOTE | TEXTS | {"at": TIMESTAMP})
    with pytest.raises(LoadError, match=error):
        loader.load(things, batch(tmp_path, columns))
    assert not loader.tables()


def test_a_null_key_is_found_in_a_file_without_statistics(loader: Loader, tmp_path: Path) -> None:
    path = parquet(tmp_path, {"id": [1, None, None]}, write_statistics=False)
    with pytest.raises(LoadError, match="'id' is missing or null in 2 of 3 records"):
        loader.load(THINGS, files("BATCH", "things", path))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"manifest": ["s3://bucket/1.parquet"]}, "file s3://bucket/1.parquet is not on this mach"),
        ({"encoding": {"format": "avro"}}, "files of format 'avro' can't be loaded"),
        ({"stream": "others"}, "BATCH for stream 'others' came before its SCHEMA"),
        (
            {"encoding": {"format": "jsonl", "compression": "xz"}},
            "has compression 'xz', which isn't known",
        ),
    ],
)
def test_messages_that_make_no_sense(
    loader: Loader, tmp_path: Path, change: Message, error: str
) -> None:
    with pytest.raises(LoadError, match=error):
        loader.load(THINGS, notes(tmp_path, (1, "a")) | change)


def test_temporary_files_are_gone_once_they_are_loaded_and_other_files_stay(
    loader: Loader, tmp_path: Path
) -> None:
    folder = batch_dir(tmp_path)
    run = loader.start()
    assert run.stdin
    temporary = notes(folder, (1, "a"), temporary=True)
    run.stdin.write(lines([THINGS, temporary, notes(tmp_path, (2, "b"))]))
    run.stdin.flush()
    wait_until(lambda: not folder.exists())  # the tap is still reading
    run.communicate(timeout=30)
    assert sorted(loader.by_id("things")) == [1, 2]
    assert len(list(tmp_path.glob("*.parquet"))) == 1


def test_only_files_in_a_private_folder_of_a_tap_are_ever_removed(
    loader: Loader, tmp_path: Path
) -> None:
    folder = batch_dir(tmp_path)
    mine = parquet(tmp_path, {"id": [1]})
    link = folder / "1.parquet"
    link.symlink_to(mine)
    (tmp_path / "tap-test-linked_1").symlink_to(folder)
    (open_to_all := tmp_path / "tap-test-open_123").mkdir(mode=0o755)
    theirs = [
        mine,
        link,
        folder / ".." / mine.name,
        tmp_path / "tap-test-linked_1" / parquet(folder, {"id": [2]}).name,
        parquet(open_to_all, {"id": [3]}),
    ]
    pipe = {**files("BATCH", "things", temporary=True), "manifest": [str(path) for path in theirs]}
    loader.load(THINGS, pipe)
    assert sorted(loader.by_id("things")) == [1, 2, 3]
    assert all(path.exists() for path in theirs)


def test_a_failure_leaves_no_temporary_file_but_one_that_cannot_be_read(
    loader: Loader, tmp_path: Path
) -> None:
    folder = batch_dir(tmp_path)
    good, bad, later = (notes(folder, (n, "a"), temporary=True) for n in (1, 2, 3))
    damaged = Path.from_uri(bad["manifest"][0])
    damaged.write_bytes(b"somebody's")
    with pytest.raises(LoadError, match="can't be read"):
        loader.load(THINGS, good, bad, later)
    assert list(folder.iterdir()) == [damaged]
    assert damaged.read_bytes() == b"somebody's"


def test_temporary_files_do_not_outlive_sigterm(loader: Loader, tmp_path: Path) -> None:
    run = loader.start()
    assert run.stdin
    folder = batch_dir(tmp_path)
    paths = [parquet(folder, {"id": [number]}) for number in range(50)]
    run.stdin.write(lines([THINGS, files("BATCH", "things", *paths, temporary=True)]))
    run.stdin.flush()
    wait_until(lambda: not paths[0].exists())
    assert paths[-1].exists()
    run.terminate()
    output, _ = run.communicate(timeout=10)
    assert (run.returncode, output) == (128 + signal.SIGTERM, b"")
    assert not folder.exists()


def test_a_run_that_is_killed_after_staging_is_repaired_by_the_next(
    loader: Loader, tmp_path: Path
) -> None:
    run = loader.start()
    assert run.stdin
    again, path = parquet(tmp_path, {"id": [1, 2]}), parquet(batch_dir(tmp_path), {"id": [1, 2]})
    run.stdin.write(lines([THINGS, files("BATCH", "things", path, temporary=True)]))
    run.stdin.flush()
    wait_until(lambda: not path.exists())
    run.kill()
    run.communicate()
    assert loader.tables(), "nothing was staged"
    assert loader.run(THINGS, files("BATCH", "things", again), state(1)).returncode == 0
    assert sorted(loader.by_id("things")) == [1, 2]
    assert loader.tables() == {"things"}
