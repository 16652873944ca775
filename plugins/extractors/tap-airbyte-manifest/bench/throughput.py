"""From an API to BigQuery: records per CPU second of tap and loader, and their memory at its peak.

Run by `make bench`. Serves records of 20 fields, 1,000 a page, on loopback, and loads them into a
BigQuery emulator of its own. The first figure is the CPU time of a start, up to the first request.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local_servers.emulator import PROJECT, running_emulator

ROWS = (10_000, 100_000, 1_000_000)
PAGE = 1_000
TEXTS, NUMBERS, MOMENTS = 8, 5, 3
TYPES: dict[str, Any] = {
    "id": {"type": "integer"},
    **{f"text_{index}": {"type": "string"} for index in range(TEXTS)},
    **{f"number_{index}": {"type": "integer"} for index in range(NUMBERS)},
    **{f"at_{index}": {"type": "string", "format": "date-time"} for index in range(MOMENTS)},
    "ok": {"type": "boolean"},
    "amount": {"type": "number"},
    "owner": {"type": "object"},
}


def page(start: int, rows: int) -> bytes:
    """Return a page of the API's records."""
    records = [
        {
            "id": row,
            **{f"text_{index}": f"text {row} {index}" for index in range(TEXTS)},
            **{f"number_{index}": row * index for index in range(NUMBERS)},
            **{f"at_{index}": f"2024-01-02T03:04:{row % 60:02d}Z" for index in range(MOMENTS)},
            "ok": row % 2 == 0,
            "amount": row * 1.37,
            "owner": {"id": row % 7, "teams": [1, 2]},
        }
        for row in range(start, min(start + PAGE, rows))
    ]
    return json.dumps({"data": records}).encode()


@contextmanager
def served(rows: int, on_request: Any = lambda: None) -> Iterator[str]:
    """Serve so many records; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            on_request()
            query = parse_qs(urlsplit(self.path).query)
            body = page(int(query.get("offset", ["0"])[0]), rows)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Take it that a client was stopped."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def manifest(url: str) -> dict[str, Any]:
    """Return a manifest for the API."""
    option = {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "offset"}
    return {
        "version": "6.44.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["rows"]},
        "spec": {"type": "Spec", "connection_specification": {"type": "object"}},
        "streams": [
            {
                "type": "DeclarativeStream",
                "name": "rows",
                "primary_key": "id",
                "schema_loader": {
                    "type": "InlineSchemaLoader",
                    "schema": {"type": "object", "properties": TYPES},
                },
                "retriever": {
                    "type": "SimpleRetriever",
                    "requester": {"type": "HttpRequester", "url_base": url, "path": "/rows"},
                    "record_selector": {
                        "type": "RecordSelector",
                        "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
                    },
                    "paginator": {
                        "type": "DefaultPaginator",
                        "page_token_option": option,
                        "pagination_strategy": {"type": "OffsetIncrement", "page_size": PAGE},
                    },
                },
            }
        ],
    }


def command(name: str) -> Path:
    """Return where a command of this environment is."""
    return Path(sys.executable).with_name(name)


def tap_arguments(url: str, folder: Path) -> list[str]:
    """Return the tap's command line for a sync of the API."""
    config, catalog = folder / "tap.json", folder / "catalog.json"
    config.write_text(json.dumps({"manifest": manifest(url)}))
    tap = [str(command("tap-airbyte-manifest")), "--config", str(config)]
    found = subprocess.run([*tap, "--discover"], check=True, capture_output=True)  # noqa: S603
    catalog.write_bytes(found.stdout)
    return [*tap, "--catalog", str(catalog)]


def start_up(folder: Path) -> float:
    """Return the CPU seconds from the start to the first request."""
    asked = threading.Event()

    def hold() -> None:
        asked.set()
        time.sleep(60)

    with served(1, hold) as url:
        tap = subprocess.Popen(tap_arguments(url, folder), stdout=subprocess.DEVNULL)  # noqa: S603
        asked.wait()
        tap.send_signal(signal.SIGKILL)
        _, _, usage = os.wait4(tap.pid, 0)
        return usage.ru_utime + usage.ru_stime


def measure(rows: int, endpoint: str, folder: Path) -> str:
    """Load so many records; return a line of the table.

    Raises:
        RuntimeError: the tap or the loader failed.
    """
    settings = {
        "project": PROJECT,
        "dataset": f"bench_{rows}",
        "api_endpoint": endpoint,
        "anonymous": True,
    }
    target = folder / "target.json"
    target.write_text(json.dumps(settings))
    with served(rows) as url:
        arguments = tap_arguments(url, folder)
        tap = subprocess.Popen(arguments, stdout=subprocess.PIPE)  # noqa: S603
        loader = subprocess.Popen(  # noqa: S603
            [command("target-bigquery-arrow"), "--config", target],
            stdin=tap.stdout,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        tap.stdout.close()  # type: ignore[union-attr]
        ends = [os.wait4(process.pid, 0) for process in (tap, loader)]
    if any(status for _, status, _ in ends):
        message = f"the tap or the loader failed on {rows} rows"
        raise RuntimeError(message)
    seconds = [usage.ru_utime + usage.ru_stime for _, _, usage in ends]
    peaks = [usage.ru_maxrss / 1024 for _, _, usage in ends]
    return (
        f"{rows:>10,} {seconds[0]:>9.1f} {seconds[1]:>12.1f} {rows / sum(seconds):>14,.0f} "
        f"{peaks[0]:>12.0f} {peaks[1]:>15.0f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="records to read")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        print(f"start-up: {start_up(folder):.2f} CPU s")  # noqa: T201
        print("      rows tap CPU s loader CPU s records/CPU s tap peak MiB loader peak MiB")  # noqa: T201
        with running_emulator(folder) as emulator:
            for rows in options.rows:
                print(measure(rows, emulator.endpoint, folder), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
