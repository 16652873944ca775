"""Write Metabase's questions and dashboards as exposures for dbt: its lineage ends in them.

dbt-metabase finds them. It doesn't see the tables that the query builder joins by a foreign key,
which most questions here do; they are added.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from dbtmetabase import DbtMetabase
from metabase_content.references import Warehouse

FILE = Path("transform/exposures/metabase.yml")
HEADER = """\
# By `meltano invoke dbt-metabase:exposures`. Git ignores it: addresses are those of one Metabase.
"""


def write(client: DbtMetabase, root: Path) -> int:
    """Write the file; return how many questions and dashboards it has."""
    with tempfile.TemporaryDirectory() as folder:
        found = list(client.extract_exposures(output_path=folder))
    metadata = [
        client.metabase.get_database_metadata(row["id"]) | {"name": row["name"]}
        for row in client.metabase.get_databases()
    ]
    warehouse = Warehouse(metadata)
    models = {
        (model.schema.upper(), model.alias.upper()): model.ref
        for model in client.manifest.read_models()
    }
    exposures = []
    for item in found:
        tables = set(tables_of(client, item, warehouse))
        refs = {models[key] for key in tables if key in models} | set(item["body"]["depends_on"])
        exposures.append({**item["body"], "depends_on": sorted(refs)})
    path = root / FILE
    path.parent.mkdir(exist_ok=True)
    text = yaml.safe_dump({"version": 2, "exposures": exposures}, sort_keys=False, width=110)
    path.write_text(HEADER + text)
    return len(exposures)


def tables_of(
    client: DbtMetabase, item: Mapping[str, Any], warehouse: Warehouse
) -> Iterator[tuple[str, str]]:
    """Yield the schema and name of each table whose columns a question or dashboard uses."""
    if item["type"] == "card":
        used: Any = (client.metabase.find_card(uid=item["id"]) or {}).get("dataset_query")
    else:
        used = (client.metabase.find_dashboard(uid=item["id"]) or {}).get("dashcards")
    for number in fields_of(used):
        if name := warehouse.names_of_fields.get(number):
            yield str(name[1]).upper(), str(name[2]).upper()


def fields_of(value: Any) -> Iterator[int]:
    """Yield the numbers of the columns in a query, in settings or in a filter's target."""
    match value:
        case ["field", dict(), int() as number] | ["field", int() as number, *_]:
            yield number
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "source-field" and isinstance(item, int):
                yield item
            yield from fields_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from fields_of(item)
