"""`python -m sandbox.metabase`: runs the fake on loopback until it is told to stop."""

import logging
from pathlib import Path

import click

from sandbox.metabase.app import create_app
from sandbox.metabase.provision import Provision, provision
from sandbox.metabase.store import Store
from sandbox.serving import serve
from sandbox.settings import DEFAULT_API_KEY


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), required=True)
@click.option("--state-file", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--bigquery-endpoint", required=True, help="For example http://127.0.0.1:19050.")
@click.option("--bigquery-project", required=True)
@click.option("--dataset", required=True, help="Dataset shown; patterns with * and commas too.")
@click.option("--database", required=True, help="The database's name in Metabase.")
@click.option(
    "--api-key",
    envvar="METABASE_API_KEY",
    default=DEFAULT_API_KEY,
    help="Better given as METABASE_API_KEY, which does not show in the list of processes.",
)
def main(
    port: int,
    state_file: Path,
    bigquery_endpoint: str,
    bigquery_project: str,
    dataset: str,
    database: str,
    api_key: str,
) -> None:
    """Serve the fake Metabase on 127.0.0.1 until it is stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    store = Store(state_file)
    wanted = Provision(
        api_key=api_key,
        database=database,
        bigquery_endpoint=bigquery_endpoint,
        bigquery_project=bigquery_project,
        dataset=dataset,
    )
    app = create_app(store, lambda: provision(store, wanted))
    serve(app, port, "SANDBOX_METABASE_PORT")


if __name__ == "__main__":
    main()
