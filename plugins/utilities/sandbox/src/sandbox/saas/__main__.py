"""`python -m sandbox.saas`: runs the fakes on loopback until it is told to stop."""

import logging
import os
from pathlib import Path

import click
from psycopg_pool import ConnectionPool

from sandbox.saas.app import create_app
from sandbox.serving import serve
from sandbox.settings import FAKES


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), required=True)
@click.option("--dsn", required=True, help="The product's Postgres, which holds the documents.")
@click.option("--request-log", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(port: int, dsn: str, request_log: Path) -> None:
    """Serve the fakes on 127.0.0.1 until stopped.

    A variable such as CLOSE_SECRET holds the key that each of them takes.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    secrets = {name: os.environ[f"{name.upper()}_SECRET"] for name in FAKES}
    with ConnectionPool(dsn, min_size=0, max_size=8, timeout=10) as connections:
        app = create_app(connections, request_log, secrets)
        serve(app, port, "SANDBOX_SAAS_PORT")


if __name__ == "__main__":
    main()
