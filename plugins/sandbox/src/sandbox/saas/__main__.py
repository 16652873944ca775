"""`python -m sandbox.saas`: runs the stand-ins on loopback until it is told to stop."""

import logging
import os
import socket
from pathlib import Path

import click
import uvicorn
from psycopg_pool import ConnectionPool

from sandbox.errors import SandboxError
from sandbox.saas.app import create_app
from sandbox.settings import HOST


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), required=True)
@click.option("--dsn", required=True, help="The product's Postgres, which holds the documents.")
@click.option("--request-log", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(port: int, dsn: str, request_log: Path) -> None:
    """Serve the stand-ins on 127.0.0.1 until stopped.

    The variables CLOSE_SECRET, INTERCOM_SECRET and STRIPE_SECRET hold the keys that they take.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise SandboxError(
            f"Port {port} can't be listened on ({error.strerror}). Stop what uses it, or choose "
            "another with SANDBOX_SAAS_PORT."
        ) from error
    secrets = {
        name: os.environ[f"{name.upper()}_SECRET"] for name in ("close", "intercom", "stripe")
    }
    with ConnectionPool(dsn, min_size=0, max_size=8, timeout=10) as connections:
        app = create_app(connections, request_log, secrets)
        uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(
            sockets=[listener]
        )


if __name__ == "__main__":
    main()
