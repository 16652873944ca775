"""Staging models are written from a catalog alone, and show what the source has."""

import json
import subprocess
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..stack import ROOT, Row, Stack, copy_of_the_project

DATASET = "dbt_shop"
PRICE_LIST = "stg_shop__price_list"
SOURCE = """
plugins:
  extractors:
  - name: tap-shop
    namespace: shop
    label: Shop
    executable: ./tap_shop.py
    capabilities: [catalog, discover, state]
    select: ['Orders.*', 'customers.*', 'price list.*']
    load_schema: shop
  loaders:
  - name: target-shop
    inherit_from: target-bigquery
    config:
      stream_maps:
        customers: {email: md5(email) if email else None, phone: __NULL__}
  transformers:
  - name: dbt-shop
    inherit_from: dbt-bigquery
    commands:
      build: {executable: dbt-changed, args: --source shop --source ops}
jobs:
- name: shop-daily
  tasks: [tap-shop target-shop, 'dbt-shop:build']
"""
TAP = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
if "--discover" in sys.argv:
    print((here / "catalog.json").read_text())
else:
    catalog = json.loads((here / "catalog.json").read_text())
    for entry in catalog["streams"]:
        print(json.dumps(dict(entry, type="SCHEMA", stream=entry["tap_stream_id"])))
    print((here / "records.jsonl").read_text())
"""


def of(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": [kind, "null"], **more}


TEXT, NUMBER, WHOLE, YES = of("string"), of("number"), of("integer"), of("boolean")
MOMENT, DAY = of("string", format="date-time"), of("string", format="date")
CUSTOMERS = {
    "id": WHOLE,
    "firstName": of("string", description="What they are called."),
    "first_name": TEXT,
    "email": TEXT,
    "phone": TEXT,
    "group": TEXT,
    "Größe (cm)": NUMBER,
    "2fa": YES,
    "hasDebt": YES,
    "born": DAY,
    "opens": of("string", format="time"),
    "balance": of("string", format="singer.decimal", precision=20, scale=4),
    "created": WHOLE,
    "seen_at": WHOLE,
    "signed_at": of("string", description="When, in ISO 8601."),
    "closed_at": TEXT,
    "tags": of("array", items=TEXT),
    "levels": of("array", items=WHOLE),
    "address": of(
        "object",
        properties={
            "city": TEXT,
            "zip.code": TEXT,
            "lat": NUMBER,
            "since": DAY,
            "checked_at": MOMENT,
            "current": YES,
            "aliases": of("array", items=TEXT),
            "geo": of("object", properties={"x": NUMBER}),
        },
    ),
    "extra": of("object"),
    "mixed": {"type": ["string", "integer", "null"]},
    "_sdc_deleted_at": MOMENT,
}
ORDERS = {
    "shop": TEXT,
    "number": WHOLE,
    "customerId": WHOLE,
    "source": TEXT,
    "lines": of(
        "array",
        items=of(
            "object",
            properties={
                "id": TEXT,
                "sku": TEXT,
                "quantity": WHOLE,
                "price": of("object", properties={"amount": NUMBER, "currency": TEXT}),
                "gift": YES,
            },
        ),
    ),
    "_sdc_deleted_at": MOMENT,
}
PRICES = {"code": TEXT, "order": WHOLE}
KEYS = {"customers": ["id"], "Orders": ["shop", "number"], "price list": ["code"]}
RECORDS: dict[str, list[Row]] = {
    "customers": [
        {
            "id": 1,
            "firstName": "Zoë",
            "first_name": "Z.",
            "email": "zoe@example.com",
            "phone": "+44",
            "group": "a",
            "Größe (cm)": 170.5,
            "2fa": True,
            "hasDebt": False,
            "born": "1990-02-28",
            "opens": "09:30:00",
            "balance": "12.3400",
            "created": 1_700_000_000,
            "seen_at": 1_700_000_000_123,
            "signed_at": "2024-02-29T12:00:00+01:00",
            "closed_at": "next week",
            "tags": ["x", "y z"],
            "levels": [3, 1, 2],
            "address": {
                "city": "Łódź",
                "zip.code": "90-001",
                "lat": 51.75,
                "since": "2020-01-31T00:00:00+02:00",
                "checked_at": "2020-01-31T10:00:00Z",
                "current": True,
                "aliases": ["Lodz", "Litzmannstadt"],
                "geo": {"x": 1.5},
            },
            "extra": {"a": [1, {"b": None}]},
            "mixed": "7 or eight",
        },
        {"id": 2},
        {"id": 3, "firstName": "gone", "_sdc_deleted_at": "2026-01-01T00:00:00Z"},
    ],
    "Orders": [
        {
            "shop": "north",
            "number": 1,
            "customerId": 1,
            "source": "web",
            "lines": [
                {
                    "id": "l1",
                    "sku": "apple",
                    "quantity": 2.0,
                    "price": {"amount": "5e-1", "currency": "EUR"},
                    "gift": 0,
                },
                {"id": "l2", "sku": "pear"},
            ],
        },
        {"shop": "north", "number": 2, "customerId": 2, "source": "till", "lines": []},
        {
            "shop": "south",
            "number": 1,
            "lines": [{"sku": "gone"}],
            "_sdc_deleted_at": "2026-01-01T00:00:00Z",
        },
    ],
    "price list": [{"code": "a", "order": 1}],
}
CUSTOMER = {
    "id": 1,
    "first_name": "Z.",
    "first_name_2": "Zoë",
    "customer_group": "a",
    "mixed": "7 or eight",
    "grosse_cm": 170.5,
    "balance": Decimal("12.34"),
    "is_2fa": True,
    "has_debt": False,
    "born": date(1990, 2, 28),
    "opens": time(9, 30),
    "created_at": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
    "seen_at": datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC),
    "signed_at": datetime(2024, 2, 29, 11, 0, tzinfo=UTC),
    "closed_at": "next week",
    "tags": "x, y z",
    "levels": "3, 1, 2",
    "address_city": "Łódź",
    "address_zip_code": "90-001",
    "address_lat": 51.75,
    "address_since": date(2020, 1, 31),
    "address_checked_at": datetime(2020, 1, 31, 10, tzinfo=UTC),
    "is_address_current": True,
    "address_aliases": "Lodz, Litzmannstadt",
    "address_geo": '{"x":1.5}',
    "extra": '{"a":[1,{"b":null}]}',
}


def write_source(folder: Path) -> None:
    """Write a tap that needs no installing, and the source's one file."""
    schemas = {"customers": CUSTOMERS, "Orders": ORDERS, "price list": PRICES}
    catalog = {
        "streams": [
            {
                "tap_stream_id": name,
                "stream": name,
                "key_properties": KEYS[name],
                "schema": {"type": "object", "properties": properties},
                "metadata": [],
            }
            for name, properties in schemas.items()
        ]
    }
    messages = [
        {"type": "RECORD", "stream": stream, "record": dict.fromkeys(schemas[stream]) | record}
        for stream, records in RECORDS.items()
        for record in records
    ]
    (folder / "catalog.json").write_text(json.dumps(catalog))
    (folder / "records.jsonl").write_text("\n".join(map(json.dumps, messages)))
    tap = folder / "tap_shop.py"
    tap.write_text(TAP.format(python=ROOT / ".venv/bin/python"))
    tap.chmod(0o755)
    (folder / "extract/shop.meltano.yml").write_text(SOURCE)


@pytest.fixture(scope="module")
def shop(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A project with one file more, whose staging models have been written; nothing is loaded."""
    folder = copy_of_the_project(tmp_path_factory.mktemp("shop") / "project")
    write_source(folder)
    elsewhere = stack.elsewhere(DATASET) | {"MELTANO_DATABASE_URI": f"sqlite:///{folder}/m.db"}
    shop = Stack(folder, stack.environment | elsewhere)
    shop.__dict__["status"] = stack.status
    output = shop.meltano("invoke", "stack", "new-staging", "shop")
    assert "Next: meltano invoke dbt-bigquery build -s source:shop+" in output
    return shop


@pytest.fixture(scope="module")
def never_loaded(shop: Stack) -> str:
    """The log of dbt's build before anything is loaded."""
    return shop.meltano("invoke", "dbt-shop:build")


@pytest.fixture(scope="module")
def loaded(shop: Stack, never_loaded: str) -> str:
    """The log of the source's job."""
    assert never_loaded
    return shop.meltano("run", "shop-daily")


def staging(shop: Stack) -> Path:
    return shop.root / "transform/models/staging/shop"


def declared(shop: Stack) -> dict[str, dict[str, str]]:
    models = yaml.safe_load((staging(shop) / "stg_shop.yml").read_text())["models"]
    return {
        model["name"]: {column["name"]: column["data_type"] for column in model["columns"]}
        for model in models
    }


def built(shop: Stack) -> dict[str, dict[str, str]]:
    rows = shop.query(
        "select table_name, column_name, lower(data_type) as data_type "
        f"from {DATASET}.INFORMATION_SCHEMA.COLUMNS where starts_with(table_name, 'stg_shop')"
    )
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        found.setdefault(row["table_name"], {})[row["column_name"]] = row["data_type"]
    return found


def test_it_builds_before_anything_is_loaded(shop: Stack, never_loaded: str) -> None:
    assert " ERROR=0 " in never_loaded
    assert "taken as empty" in never_loaded
    assert built(shop) == declared(shop)
    assert shop.query(f"select count(*) as n from {DATASET}.stg_shop__customers") == [{"n": 0}]


def test_it_has_the_types_that_it_says_once_data_is_there(shop: Stack, loaded: str) -> None:
    assert " WARN=0 ERROR=0 " in loaded
    assert built(shop) == declared(shop)


@pytest.mark.usefixtures("loaded")
def test_every_value_of_the_source_is_there_in_its_type(shop: Stack) -> None:
    rows = shop.query(f"select * from {DATASET}.stg_shop__customers order by id")
    first, second = rows
    assert len(first.pop("email")) == 32  # hashed on its way
    assert first == CUSTOMER
    assert {name for name, value in second.items() if value is not None} == {"id"}


@pytest.mark.usefixtures("loaded")
def test_a_list_of_objects_is_a_model_with_all_its_items(shop: Stack) -> None:
    lines = shop.query(
        "select lines.* except (id, order_id), orders.number as order_number "
        f"from {DATASET}.stg_shop__orders_lines as lines "
        f"inner join {DATASET}.stg_shop__orders as orders on lines.order_id = orders.id "
        "order by position"
    )
    nothing = dict.fromkeys(["quantity", "price_amount", "price_currency", "is_gift"])
    first = {"quantity": 2, "price_amount": 0.5, "price_currency": "EUR", "is_gift": False}
    assert lines == [
        {"line_id": "l1", "sku": "apple", "position": 1, "order_number": 1, **first},
        {"line_id": "l2", "sku": "pear", "position": 2, "order_number": 1, **nothing},
    ]
    assert shop.query(f"select line_count from {DATASET}.stg_shop__orders order by number") == [
        {"line_count": 2},
        {"line_count": 0},
    ]


@pytest.mark.usefixtures("loaded")
def test_a_row_that_breaks_a_rule_is_named(shop: Stack) -> None:
    shop.query("insert into shop.price_list (code) select 'a' union all select null")
    try:
        output = shop.meltano("invoke", "dbt-bigquery", "test", "-s", PRICE_LIST, fails=True)
    finally:
        shop.query("delete from shop.price_list where code is null or `order` is null")
    assert f"FAIL integrity_{PRICE_LIST}_code, 2 rows:" in output
    assert "column_name=code, problem=not unique, value=a, row_key=a, row_count=2" in output
    assert "column_name=code, problem=null, row_count=1" in output


def test_what_is_written_passes_the_project_s_own_checks(shop: Stack) -> None:
    for command in (
        [ROOT / ".venv/bin/sqlfluff", "lint", "--config", ROOT / ".sqlfluff", staging(shop)],
        [ROOT / ".venv/bin/yamllint", "--strict", "-c", ROOT / ".yamllint", staging(shop)],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("loaded")
def test_written_again_nothing_changes(shop: Stack) -> None:
    output = shop.meltano("invoke", "stack", "new-staging", "shop")
    assert "Nothing to do" in output
