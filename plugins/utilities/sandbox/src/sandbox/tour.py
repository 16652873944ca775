"""`sandbox tour`: what the jobs loaded and built, and three questions that it answers."""

from collections.abc import Sequence
from typing import Any

import click
import requests
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from local_servers.loopback import HOST

from sandbox.errors import SandboxError
from sandbox.services import BIGQUERY_PROJECT, DBT_DATASET, bigquery_endpoint
from sandbox.settings import TOOLS, Settings

BAR_WIDTH = 40
OVERVIEW = "Company overview"
SOURCES = {"product": "Postgres", **{tool: f"{tool.capitalize()}'s API" for tool in TOOLS}}

IN_ARREARS_AND_ASKING = f"""
select
    name as organisation,
    format('%s %.2f', billing_currency, cast(amount_due as float64)) as due,
    plan,
    conversation_count_30_days as conversations,
    format_timestamp('%d %b', last_contacted_at) as last_contacted
from {DBT_DATASET}.dim_organisations
where is_in_arrears and conversation_count_30_days > 0
order by amount_due desc, name
limit 5
"""
SETUP_FUNNEL = f"""
select step, countif(is_reached) as organisations
from {DBT_DATASET}.fct_setup_funnel
where is_reached is not null
group by step_number, step
order by step_number
"""
TIMELINE_ITEMS_BY_MONTH = f"""
select * from (
    select format_timestamp('%Y-%m', created_at) as month, count(*) as timeline_items
    from {DBT_DATASET}.stg_product__timeline_items
    group by month
    order by month desc
    limit 12
)
order by month
"""


def show(settings: Settings) -> None:
    """Print the results of the last run, and where to look next.

    Raises:
        SandboxError: Nothing has been built yet, or the emulator doesn't answer.
    """
    client = bigquery.Client(
        project=BIGQUERY_PROJECT,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": bigquery_endpoint(settings)},
    )
    try:
        _show_what_came_out(client)
        _show_table(
            client, "Who is in arrears and asking for help? (30 days)", IN_ARREARS_AND_ASKING
        )
        _show_bars(client, "How far do organisations get with set-up?", SETUP_FUNNEL)
        _show_bars(client, "How many timeline items a month?", TIMELINE_ITEMS_BY_MONTH)
    except (GoogleAPICallError, requests.ConnectionError) as error:
        raise SandboxError(
            "There is nothing to show yet. Run `meltano invoke sandbox up`, then `meltano run "
            f"product-daily`. ({str(error).splitlines()[0]})"
        ) from error
    _show_next_steps(settings)


def _show_what_came_out(client: bigquery.Client) -> None:
    _heading("What came out")
    for dataset, origin in SOURCES.items():
        try:
            tables = list(client.list_tables(dataset))
        except NotFound:
            click.echo(f"  {dataset:<10}not loaded yet: `meltano run {dataset}-daily`")
            continue
        rows = sum(client.get_table(table.reference).num_rows or 0 for table in tables)
        click.echo(f"  {dataset:<10}{len(tables)} raw tables, {rows:,} rows, from {origin}")
    models = [table.table_id for table in client.list_tables(DBT_DATASET)]
    counts = {
        kind: sum(name.startswith(prefix) for name in models)
        for kind, prefix in (("staging", "stg_"), ("dimensions", "dim_"), ("facts", "fct_"))
    }
    click.echo(f"  {DBT_DATASET:<10}{', '.join(f'{n} {kind}' for kind, n in counts.items())}")


def _show_table(client: bigquery.Client, title: str, query: str) -> None:
    result = client.query(query).result()
    rows = [[field.name.replace("_", " ") for field in result.schema]]
    rows += ([_text(value) for value in row.values()] for row in result)
    _heading(title)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo(f"  {_columns(row, widths)}".rstrip())
    if len(rows) == 1:
        click.echo("  (nobody)")


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _columns(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    aligned = (f"{text:>{width}}" for text, width in others)
    return "    ".join((f"{first[0]:<{first[1]}}", *aligned))


def _show_bars(client: bigquery.Client, title: str, query: str) -> None:
    rows = [tuple(row.values()) for row in client.query(query).result()]
    largest = max((count for _, count in rows), default=1)
    width = max((len(label) for label, _ in rows), default=0)
    _heading(title)
    for label, count in rows:
        bar = "█" * max(1, round(BAR_WIDTH * count / largest))
        click.echo(f"  {label:<{width}}  {bar:<{BAR_WIDTH}} {count:>7,}")


def _show_next_steps(settings: Settings) -> None:
    _heading("Where to look next")
    metabase = f"http://{HOST}:{settings.metabase_port}"
    overview = overview_address(metabase, settings.metabase_api_key)
    for what, why in (
        ("source .venv/bin/activate", "then `meltano` is a command"),
        ("meltano invoke sandbox tick", "let a day pass in the product and the tools …"),
        ("meltano run product-daily", "… and bring it to BigQuery and Metabase"),
        ("README.md", "connect your own Postgres, tools, BigQuery and Metabase"),
        (metabase, "every dashboard and table as Metabase knows it"),
        *([(overview, f"{OVERVIEW}: open it in a browser")] if overview else []),
    ):
        click.echo(f"  {what:<35}{why}")


def overview_address(metabase: str, api_key: str) -> str | None:
    """Return the address of the dashboard to begin with, if it has been pushed."""
    headers = {"X-API-KEY": api_key}
    try:
        answer = requests.get(f"{metabase}/api/dashboard", headers=headers, timeout=5)
        answer.raise_for_status()
    except requests.RequestException:
        return None
    ids = [row["id"] for row in answer.json() if row["name"] == OVERVIEW]
    return f"{metabase}/dashboard/{ids[0]}" if ids else None


def _heading(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)
