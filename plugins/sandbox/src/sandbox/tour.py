"""`sandbox tour`: what came out of the road, in the terminal."""

import click
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from requests.exceptions import ConnectionError as NotReachable

from sandbox.errors import SandboxError
from sandbox.services import BIGQUERY_PROJECT, DBT_DATASET, bigquery_endpoint
from sandbox.settings import HOST, Settings

RAW_DATASET = "product"
BAR_WIDTH = 40

BUSIEST = f"""
select name, user_count, incident_count, open_incident_count, open_action_count
from {DBT_DATASET}.dim_organisations
order by incident_count desc, name
limit 5
"""
TIMELINE_ITEMS_BY_MONTH = f"""
select format_timestamp('%Y-%m', created_at) as month, count(*) as timeline_items
from {DBT_DATASET}.stg_product__timeline_items
group by month
order by month desc
limit 12
"""


def show(settings: Settings) -> None:
    """Print what the last run made and where to look next.

    Raises:
        SandboxError: Nothing has been built yet, or the emulator doesn't answer.
    """
    client = bigquery.Client(
        project=BIGQUERY_PROJECT,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": bigquery_endpoint(settings)},
    )
    try:
        _show_tables(client)
        _show_table(client, "The five organisations with the most incidents", BUSIEST)
        _show_bars(client, "Timeline items by month", TIMELINE_ITEMS_BY_MONTH)
    except (GoogleAPICallError, NotReachable) as error:
        raise SandboxError(
            "There is nothing to show yet. Run `meltano invoke sandbox up`, then `meltano run "
            f"product-daily`. ({str(error).splitlines()[0]})"
        ) from error
    _show_next_steps(settings)


def _show_tables(client: bigquery.Client) -> None:
    raw = {table.table_id: table for table in client.list_tables(RAW_DATASET)}
    rows = sum(client.get_table(table.reference).num_rows or 0 for table in raw.values())
    models = [table.table_id for table in client.list_tables(DBT_DATASET)]
    counts = {
        kind: sum(name.startswith(prefix) for name in models)
        for kind, prefix in (("staging", "stg_"), ("dimensions", "dim_"), ("facts", "fct_"))
    }
    _heading("What came out")
    click.echo(f"  {RAW_DATASET:<9}{len(raw)} raw tables, {rows:,} rows, loaded from Postgres")
    click.echo(f"  {DBT_DATASET:<9}{', '.join(f'{n} {kind}' for kind, n in counts.items())}")


def _show_table(client: bigquery.Client, title: str, query: str) -> None:
    result = client.query(query).result()
    headings = [field.name.replace("_count", "s").replace("_", " ") for field in result.schema]
    _heading(title)
    click.echo("  " + _columns(headings))
    for row in result:
        click.echo("  " + _columns([str(value) for value in row.values()]))


def _columns(values: list[str]) -> str:
    first, *others = values
    return f"{first[:32]:<34}" + "".join(f"{value:>16}" for value in others)


def _show_bars(client: bigquery.Client, title: str, query: str) -> None:
    rows = [tuple(row.values()) for row in client.query(query).result()]
    largest = max((count for _, count in rows), default=1)
    _heading(title)
    for label, count in reversed(rows):
        bar = "█" * max(1, round(BAR_WIDTH * count / largest))
        click.echo(f"  {label}  {bar:<{BAR_WIDTH}} {count:>7,}")


def _show_next_steps(settings: Settings) -> None:
    _heading("Where to look next")
    for what, why in (
        (f"http://{HOST}:{settings.metabase_port}", "every table as Metabase knows it"),
        ("source .venv/bin/activate", "then `meltano` is a command"),
        ("meltano invoke sandbox tick", "let a day pass in the product …"),
        ("meltano run product-daily", "… and bring it to BigQuery and Metabase"),
        ("README.md", "connect your own Postgres, BigQuery and Metabase"),
    ):
        click.echo(f"  {what:<29}{why}")


def _heading(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)
