"""The Singer tap: settings, discovery, and one run after another."""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import IO, Any, ClassVar, NoReturn, Self, cast, override

from singer_sdk import Tap
from singer_sdk import typing as th
from singer_sdk.helpers.capabilities import PluginCapabilities, TapCapabilities

from tap_postgres_arrow.database import Connection, Database, in_background
from tap_postgres_arrow.discovery import discover
from tap_postgres_arrow.errors import SafeLines, TapError
from tap_postgres_arrow.streams import PostgresStream
from tap_postgres_arrow.sync_run import SyncRun
from tap_postgres_arrow.tokens import BY_PASSWORD, LOGINS

MEBIBYTE = 2**20
# What libpq takes, and what files can have.
MAXIMUM = 2**31 - 1
# What shells add to a signal's number.
SIGNALLED = 128
TARGETS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Meltano can't hand on a decimal; a variable of the environment comes as text.
FRACTION = th.CustomType(
    {
        "type": ["number", "string"],
        "minimum": 0,
        "maximum": 1,
        "pattern": r"^(0|1|0?\.[0-9]+|1\.0+)$",
    }
)


class TapPostgresArrow(Tap):
    """Read Postgres by binary COPY into Parquet: changes by xmin, deletes by keys."""

    # The SDK gives the command line, the settings, the catalog and the state. Rows don't go
    # through it: it handles one Python dictionary a row, and this tap hands over columns.
    name = "tap-postgres-arrow"
    dynamic_catalog = True
    capabilities: ClassVar = [
        PluginCapabilities.ABOUT,
        PluginCapabilities.BATCH,
        PluginCapabilities.STRUCTURED_LOGGING,
        TapCapabilities.ACTIVATE_VERSION,
        TapCapabilities.CATALOG,
        TapCapabilities.DISCOVER,
        TapCapabilities.STATE,
    ]
    config_jsonschema = th.PropertiesList(
        th.Property(
            "url",
            th.StringType,
            secret=True,
            description=(
                "Where Postgres is, and all else that libpq takes: "
                "`postgresql://user:password@host:5432/database?sslmode=require`. What is set "
                "beside it overrides it."
            ),
        ),
        th.Property(
            "host",
            th.StringType,
            description="Where Postgres is; or several servers with commas between.",
        ),
        th.Property(
            "port",
            th.IntegerType(minimum=1, maximum=65535),
            description="Its port; 5432 if nothing says another.",
        ),
        th.Property("user", th.StringType, description="Who reads; only SELECT is needed."),
        th.Property("password", th.StringType, secret=True, description="The user's password."),
        th.Property("database", th.StringType, description="Which database."),
        th.Property(
            "ssl_mode",
            th.StringType(allowed_values=list(SSL_MODES)),
            description=(
                "Encryption: `require` insists on it, `verify-full` also checks who answers; "
                "`prefer` if nothing says another."
            ),
        ),
        th.Property(
            "ssl_certificate_authority",
            th.StringType,
            description="The certificates that `verify-full` trusts: a file, or its text.",
        ),
        th.Property(
            "ssl_client_certificate",
            th.StringType,
            description="Our certificate: a file, or its text.",
        ),
        th.Property(
            "ssl_client_private_key",
            th.StringType,
            secret=True,
            description="Its private key: a file, or its text.",
        ),
        th.Property(
            "target_session_attrs",
            th.StringType(allowed_values=list(TARGETS)),
            description="Which of several servers: `prefer-standby` takes a replica if it can.",
        ),
        th.Property(
            "auth_method",
            th.StringType(allowed_values=list(LOGINS)),
            default=BY_PASSWORD,
            description="`rds_iam` and `cloud_sql_iam` log in by a token of AWS' or Google's.",
        ),
        th.Property(
            "aws_region",
            th.StringType,
            description="For `rds_iam`, where the host isn't called as RDS calls it.",
        ),
        th.Property(
            "ssh_host",
            th.StringType,
            description="An SSH server through which Postgres is reached.",
        ),
        th.Property(
            "ssh_port",
            th.IntegerType(minimum=1, maximum=65535),
            default=22,
            description="Its port.",
        ),
        th.Property("ssh_user", th.StringType, description="Who logs in there."),
        th.Property(
            "ssh_private_key",
            th.StringType,
            secret=True,
            description="By which key: a file, or its text; else as `ssh` does.",
        ),
        th.Property(
            "ssh_private_key_passphrase",
            th.StringType,
            secret=True,
            description="What opens the key, if it is protected.",
        ),
        th.Property(
            "ssh_known_hosts",
            th.StringType,
            description=(
                "The SSH server's own key: lines as `ssh-keyscan` prints them, or a file; else "
                "`~/.ssh/known_hosts`."
            ),
        ),
        th.Property(
            "keepalives_idle",
            th.IntegerType(minimum=0, maximum=MAXIMUM),
            description=(
                "After so many seconds of silence the connection is probed, so that no router "
                "forgets it; 60 if nothing says another, `0` for the system's default."
            ),
        ),
        th.Property(
            "keepalives_interval",
            th.IntegerType(minimum=0, maximum=MAXIMUM),
            description=(
                "Seconds until a probe without an answer is repeated; 10 if nothing says another."
            ),
        ),
        th.Property(
            "keepalives_count",
            th.IntegerType(minimum=0, maximum=MAXIMUM),
            description=(
                "After so many probes without an answer the connection counts as lost; 6 if "
                "nothing says another."
            ),
        ),
        th.Property(
            "tcp_user_timeout",
            th.IntegerType(minimum=0, maximum=MAXIMUM),
            description=(
                "Milliseconds for which what was sent may stay unacknowledged before the "
                "connection counts as lost; 120000 if nothing says another, `0` for the system's "
                "default."
            ),
        ),
        th.Property(
            "filter_schemas",
            th.ArrayType(th.StringType),
            default=[],
            description="Schemas to look at; all but Postgres' own if there are none.",
        ),
        th.Property(
            "emit",
            th.StringType(allowed_values=["batches", "records"]),
            default="batches",
            description=(
                "`batches` hands over Parquet files in BATCH messages; `records` sends a RECORD "
                "message a row, for targets that take nothing else."
            ),
        ),
        th.Property(
            "batch_bytes",
            th.IntegerType(minimum=MEBIBYTE, maximum=MAXIMUM),
            default=64 * MEBIBYTE,
            description="A Parquet file is handed over once it is this large.",
        ),
        th.Property(
            "detect_deletes",
            th.BooleanType,
            default=True,
            description=(
                "Find the rows that have left the source, in streams that are read incrementally "
                "and have a key. For one stream alone: `detect-deletes` in its `metadata`."
            ),
        ),
        th.Property(
            "max_delete_fraction",
            FRACTION,
            default=0.5,
            description=(
                "If more than this share of a table's rows were to be marked as deleted, the run "
                "fails instead."
            ),
        ),
        th.Property(
            "max_parallel_streams",
            th.IntegerType(minimum=1, maximum=100),
            default=4,
            description=(
                "How many streams are read at once, each on a connection of its own; the run "
                "itself holds one more."
            ),
        ),
        th.Property(
            "invalid_values",
            th.StringType(allowed_values=["fail", "nullify"]),
            default="fail",
            description=(
                "What a value does that its type in the warehouse can't hold, such as a year "
                "beyond 9999: `fail` its stream, or arrive as null (`nullify`), with a warning."
            ),
        ),
        th.Property(
            "statement_timeout",
            th.StringType,
            default="0",
            description="How long one statement may run, e.g. `30min`; `0` for no limit.",
        ),
        additional_properties=False,
    ).to_dict()

    def __init__(self, *, catalog: Any = None, **options: Any) -> None:
        """Read the settings; nothing is sent yet."""
        # What the SDK's catalog leaves out of `metadata`.
        self.stream_metadata = _stream_metadata(catalog)
        # Selected streams that can't be read at all: said once the others have been.
        self.failures: list[TapError] = []
        # Streams are mapped by the loader, which sees their rows.
        super().__init__(catalog=catalog, **(options | {"setup_mapper": False}))
        self.database = Database(self.config)

    @classmethod
    @override
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        # Without the SDK's settings for its own batches.
        super(Tap, cls).append_builtin_config(config_jsonschema)

    @classmethod
    @override
    def cb_config(cls, ctx: Any, param: Any, value: tuple[str, ...]) -> Any:
        for path in value:
            if path != "ENV":
                try:
                    with Path(path).open(encoding="utf-8") as file:
                        _read_json(file, "config")
                except OSError as error:
                    message = f"The file of `--config`, {path}: {error.strerror}."
                    raise TapError(message) from None
        return super().cb_config(ctx, param, value)

    @classmethod
    @override
    def invoke(  # type: ignore[override]
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: Any = None,
        state: IO[str] | None = None,
        catalog: IO[str] | None = None,
    ) -> None:
        # As the SDK does, and `__exit__` after it.
        super(Tap, cls).invoke(about=about, about_format=about_format)
        cls.print_version(print_fn=cls.logger.info)
        with cls(
            config=config.config,
            parse_env_config=config.parse_env,
            state=_read_json(state, "state", "bookmarks"),
            catalog=_read_json(catalog, "catalog", "streams"),
        ) as tap:
            tap.run()

    def run(self) -> None:
        """Read all streams that are selected.

        Raises:
            TapError: one could not be read; the others have been.
        """
        try:
            self.sync_all()
            if self.failures:
                raise self.failures.pop()
        finally:
            for failure in self.failures:
                self.logger.error("%s", failure)

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what is under way and leave the database."""
        if "sync_run" in self.__dict__:
            self.sync_run.close()
        # One that waits for an answer can't be closed; it goes with the process.
        if "connection" in self.__dict__ and not self.connection.is_waiting:
            self.connection.close()
        self.database.close()

    @cached_property
    def connection(self) -> Connection:
        """Return the connection whose snapshot all others share."""
        connection = self.database.connect()
        self._wait(connection, lambda: self.database.begin(connection))
        return connection

    def _wait[Result](self, connection: Connection, work: Callable[[], Result]) -> Result:
        return self.database.wait(in_background(work), lambda: [connection])

    @cached_property
    def sync_run(self) -> SyncRun:
        """Return the run, which begins when it is first asked for."""
        streams = (cast("PostgresStream", stream) for stream in self.streams.values())
        return SyncRun(
            [stream for stream in streams if stream.selected],
            self.database,
            self.connection,
            config=self.config,
            state=self.state,
            write_message=self.write_message,
            logger=self.logger,
        )

    def _sync(self, stream: PostgresStream) -> None:
        if failure := self.sync_run.wait_for(stream):
            self.failures.append(failure)

    @override
    def discover_streams(self) -> list[PostgresStream]:
        schemas = self.config["filter_schemas"]
        connection = self.connection
        relations = self._wait(connection, lambda: discover(connection, schemas))
        if not relations:
            where = f"in the schemas {', '.join(schemas)}" if schemas else "that can be read"
            self.logger.warning("The database has no table or view %s.", where)
        self._look_for_missing({relation.stream for relation in relations})
        return [
            PostgresStream(
                self, relation, self.stream_metadata.get(relation.stream, {}), self._sync
            )
            for relation in relations
        ]

    def _look_for_missing(self, found: set[str]) -> None:
        """Compare what there is with what the catalog selects and earlier runs have read."""
        for name, entry in (self.input_catalog or {}).items():
            if name not in found and entry.metadata.resolve_selection()[()]:
                message = (
                    f"Stream '{name}' is selected, but the database has no such table or view, or "
                    f"`{self.database.user}` may not use its schema. Leave it out with "
                    f"`select: ['*.*', '!{name}.*']`, or bring it back."
                )
                self.failures.append(TapError(message))
        for name in self.state.get("bookmarks", {}).keys() - found:
            self.logger.warning(
                "Stream '%s' was read by an earlier run and isn't in the database any more. What "
                "was loaded stays as it is.",
                name,
            )

    @override
    def _reset_state_progress_markers(self) -> None:
        # There are none. Each run begins with a STATE, even of no bookmarks: what is said later
        # is new, and the loader can tell.
        self.state.setdefault("bookmarks", {})
        self.sync_run.forget_row_counts()

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> NoReturn:
        # No state: each stream that is complete has sent its own.
        sys.exit(SIGNALLED + signum)


def _stream_metadata(catalog: Any) -> dict[str, dict[str, Any]]:
    """Return the metadata of each stream in a catalog that was read from JSON."""
    if not isinstance(catalog, dict):
        return {}
    return {
        stream["tap_stream_id"]: entry["metadata"]
        for stream in catalog.get("streams", [])
        for entry in stream.get("metadata", [])
        if not entry["breadcrumb"]
    }


def _read_json(
    file: IO[str] | None, option: str, member: str | None = None
) -> dict[str, Any] | None:
    """Return what a file holds.

    Raises:
        TapError: it isn't what it should be.
    """
    if file is None:
        return None
    try:
        found = json.load(file)
    except (ValueError, RecursionError) as error:
        message = f"The file of `--{option}`, {file.name}, is no JSON: {error}."
        raise TapError(message) from None
    kind = list if member == "streams" else dict
    if not isinstance(found, dict):
        message = f"The file of `--{option}`, {file.name}, is none: it holds no object."
        raise TapError(message)
    if member and not isinstance(found.get(member, kind()), kind):
        message = f"The file of `--{option}`, {file.name}, is none: it has no `{member}`."
        raise TapError(message)
    return found


def main() -> None:
    """Run the tap; an expected error is one line, without a traceback."""
    command = TapPostgresArrow.cli
    for handler in logging.getLogger().handlers:
        handler.addFilter(SafeLines())
    try:
        command()
    except SystemExit as stop:
        if isinstance(stop.code, int) and stop.code > SIGNALLED:
            name = signal.Signals(stop.code - SIGNALLED).name
            TapPostgresArrow.logger.warning(
                "Stopped by %s. What is complete is not read twice.", name
            )
        raise
    except TapError as error:
        TapPostgresArrow.logger.critical("%s", error)
        # Nothing is left to write; at exit, Python would report a broken pipe a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
