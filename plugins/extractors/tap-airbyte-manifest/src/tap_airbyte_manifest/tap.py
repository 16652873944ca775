"""The command line: settings, discovery, check, and a run."""

import argparse
import ast
import json
import logging
import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

from airbyte_cdk.models import Status
from airbyte_cdk.sources.declarative.checks.check_stream import CHECK_STREAM_NAMES_CONFIG_KEY
from airbyte_cdk.utils.airbyte_secrets_utils import get_secrets, update_secrets
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from tap_airbyte_manifest.catalog import catalog_entry, selected_names, selections
from tap_airbyte_manifest.errors import SafeLines, TapError, mask
from tap_airbyte_manifest.manifest import completed_config, load_manifest, specification
from tap_airbyte_manifest.runtime import notes
from tap_airbyte_manifest.source import ManifestSource, control_messages, open_source, request_cache
from tap_airbyte_manifest.sync import Sync, known_config

NAME = "tap-airbyte-manifest"
logger = logging.getLogger(NAME)
# For what the CDK both logs and tells.
quiet = logging.Logger("quiet", logging.CRITICAL + 1)

SETTINGS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "manifest": {
            "type": ["string", "object"],
            "description": "The path of a manifest in the project, or the manifest itself.",
        },
        "config": {
            "type": "object",
            "default": {},
            "description": "What the manifest's `spec` asks for.",
        },
        "max_retry_seconds": {
            "type": ["number", "string"],
            "default": 300,
            "description": (
                "How long a request that fails may be tried again, and how long a rate limit may "
                "be waited for."
            ),
        },
        "max_delete_fraction": {
            "type": ["number", "string"],
            "default": 0.5,
            "description": (
                "If more than this share of a table's rows were to be marked as deleted, the "
                "stream fails instead."
            ),
        },
    },
    "required": ["manifest"],
    "additionalProperties": False,
}
CAPABILITIES = ["about", "activate-version", "catalog", "discover", "state"]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog=NAME)
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--about", action="store_true", help="print the settings")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("--config", action="append", default=[], metavar="FILE")
    parser.add_argument("--catalog", "--properties", metavar="FILE")
    parser.add_argument("--state", metavar="FILE")
    parser.add_argument("--discover", action="store_true", help="print the catalog")
    parser.add_argument("--check", "--test", action="store_true", help="run the manifest's check")
    parser.add_argument("--spec", action="store_true", help="print the JSON schema of `config`")
    return parser.parse_args(given)


class Tap:
    """The manifest and its settings."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Check the settings; nothing is sent yet.

        Raises:
            TapError: the manifest or the settings can't be used.
        """
        unknown = settings.keys() - SETTINGS["properties"].keys()
        if unknown:
            names = ", ".join(f"`{name}`" for name in sorted(unknown))
            message = (
                f"The setting {names} isn't known. What the manifest asks for belongs under "
                f"`config`."
            )
            raise TapError(message)
        self.manifest = load_manifest(settings.get("manifest"))
        self.spec = specification(self.manifest)
        self.max_delete_fraction = _number(settings, "max_delete_fraction", most=1)
        given = settings.get("config") or {}
        if not isinstance(given, Mapping):
            message = "`config` holds no settings by name."
            raise TapError(message)
        secrets = [secret for secret in get_secrets(self.spec, given) if secret]
        mask.add(secrets)
        update_secrets([str(secret) for secret in secrets])
        self.given = given
        notes.max_retry_seconds = _number(settings, "max_retry_seconds")

    @property
    def config(self) -> dict[str, Any]:
        """Return the settings as the manifest's `spec` wants them."""
        return completed_config(self.spec, self.given)

    def catalog(self) -> dict[str, Any]:
        """Return all streams.

        Raises:
            TapError: the manifest's streams can't be told.
        """
        with control_messages():
            source = self._source()
            return {
                "streams": [
                    catalog_entry(description, delegates=delegates)
                    for description, delegates in source.described()
                ]
            }

    def check(self) -> None:
        """Run the manifest's own check, of streams that are selected.

        Raises:
            TapError: it failed.
        """
        names = (self.manifest.get("check") or {}).get("stream_names") or []
        selected = {CHECK_STREAM_NAMES_CONFIG_KEY: selected_names(names)}
        with control_messages(), request_cache():
            status = open_source(self.manifest, self.config | selected).check(quiet, {})
        if status.status is not Status.SUCCEEDED:
            reason = str(status.message)
            if reason[:1] in "'\"":
                reason = str(ast.literal_eval(reason))
            message = f"The manifest's check failed: {reason}"
            raise TapError(message)

    def sync(self, catalog: Mapping[str, Any] | None, state: Mapping[str, Any]) -> None:
        """Read the streams that are selected.

        Raises:
            TapError: some could not be read; the others have been.
        """
        chosen = list(selections(catalog if catalog is not None else self.catalog()))
        bookmarks = state.get("bookmarks") or {}
        if not isinstance(bookmarks, Mapping):
            message = "The file of `--state` is none: its `bookmarks` aren't by stream."
            raise TapError(message)
        states = {
            stream.name: bookmarks[stream.name].get("airbyte_state") or {}
            for stream in chosen
            if stream.incremental and isinstance(bookmarks.get(stream.name), Mapping)
        }
        given = self.config
        output = sys.stdout.buffer
        with notes.of_a_run(), control_messages() as control, request_cache():
            source = open_source(
                self.manifest, known_config(given, state), selected=chosen, states=states
            )
            run = Sync(
                source,
                chosen,
                state,
                output=output,
                given=given,
                max_delete_fraction=self.max_delete_fraction,
            )
            control.listener = run.take_config
            run.run()

    def _source(self) -> ManifestSource:
        return open_source(self.manifest, self.config)


def _number(settings: Mapping[str, Any], name: str, most: float = inf) -> float:
    """Return a setting, which comes as text where it comes from the environment.

    Raises:
        TapError: it isn't a number, or too small or too large.
    """
    given = settings.get(name, SETTINGS["properties"][name]["default"])
    try:
        found = float(given)
    except (TypeError, ValueError):
        found = -1
    if not 0 <= found <= most:
        limit = f" and no more than {most:g}" if most < inf else ""
        message = f"`{name}` is {given!r}: set a number that is no less than 0{limit}."
        raise TapError(message)
    return found


def _read_json(path: str, option: str) -> dict[str, Any]:
    """Return what a file holds.

    Raises:
        TapError: it isn't what it should be.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        message = f"The file of `--{option}`, {path}: {error.strerror}."
        raise TapError(message) from None
    except (ValueError, RecursionError) as error:
        message = f"The file of `--{option}`, {path}, is no JSON: {error}."
        raise TapError(message) from None
    if not isinstance(found, dict):
        message = f"The file of `--{option}`, {path}, is none: it holds no object."
        raise TapError(message)
    return found


def about(form: str) -> str:
    """Return the tap's settings and what it can do."""
    facts = {
        "name": NAME,
        "version": version(NAME),
        "capabilities": CAPABILITIES,
        "settings": SETTINGS,
    }
    if form == "json":
        return json.dumps(facts, indent=2)
    lines = [f"{NAME} {facts['version']}", f"Capabilities: {', '.join(CAPABILITIES)}", "Settings:"]
    lines += [f"  {name}: {rule['description']}" for name, rule in SETTINGS["properties"].items()]
    return "\n".join(lines)


def run(options: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        TapError: it can't be done.
    """
    out = sys.stdout
    if options.version:
        print(f"{NAME} {version(NAME)}", file=out)
        return
    if options.about:
        print(about(options.format), file=out)
        return
    settings: dict[str, Any] = {}
    for path in options.config:
        settings |= _read_json(path, "config")
    tap = Tap(settings)
    if options.spec:
        print(json.dumps(tap.spec, indent=2), file=out)
    elif options.discover or options.check:
        if options.discover:
            print(json.dumps(tap.catalog(), indent=2), file=out, flush=True)
        if options.check:
            tap.check()
    else:
        tap.sync(
            _read_json(options.catalog, "catalog") if options.catalog else None,
            _read_json(options.state, "state") if options.state else {},
        )


def _is_told_elsewhere(record: logging.LogRecord) -> bool:
    """Return whether the CDK logs what ends up in an error of ours, or in none."""
    return record.name.split(".")[0] == "airbyte" and record.levelno != logging.WARNING


def set_up_logging() -> None:
    """Write safe lines to standard error. The CDK's own handler writes to standard output."""
    debug = os.environ.get("LOG_LEVEL", "").lower() == "debug"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(SafeLines())
    if not debug:
        handler.addFilter(lambda record: not _is_told_elsewhere(record))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in ("backoff", "requests_cache", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    notes.tell = logger.warning


def main() -> None:
    """Run the tap; an expected error is one line, without a traceback."""
    set_up_logging()
    try:
        run(arguments())
        sys.stdout.flush()
        return
    except TapError as error:
        logger.critical("%s", error)
    except BrokenPipeError:
        logger.critical("Nobody reads the extractor's messages any more: the loader has ended.")
    except AirbyteTracedException as error:
        logger.critical("%s", error)
    except Exception as error:  # the CDK has no kind of its own for a bad manifest
        logger.debug("", exc_info=True)
        logger.critical("The manifest can't be run: %s (%s).", error, type(error).__name__)
    # What was written is complete. At exit, Python would report a broken pipe a second time, and
    # wait for threads that still read.
    logging.shutdown()
    os._exit(1)
