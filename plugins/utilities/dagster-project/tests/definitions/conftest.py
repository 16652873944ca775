"""A small project, as Meltano and dbt tell of it."""

from typing import Any

import pytest
from dagster_project.project import RawSource, Snapshot


@pytest.fixture
def snapshot() -> Snapshot:
    return Snapshot(
        sources=[
            RawSource(
                name="shop",
                label="Shop (Postgres)",
                dataset="shop",
                extractors=["tap-shop", "tap-shop-full"],
                loader="target-bigquery",
                tables=["customers", "orders"],
                streams={"customers": "public-customers", "orders": "public-orders"},
            ),
            RawSource(
                name="help-desk",
                label="Help desk",
                dataset="help_desk",
                extractors=["tap-help-desk"],
                loader="target-bigquery",
                tables=["tickets"],
                streams={},
            ),
        ],
        jobs={
            "shop-daily": [
                "stack:guard",
                "tap-shop target-bigquery",
                "dbt-shop:build",
                "dbt-metabase:sync",
            ],
            "shop-weekly": ["stack:guard", "tap-shop-full target-bigquery"],
            "help-desk-hourly": ["stack:guard", "tap-help-desk target-bigquery"],
            "export": ["tap-shop target-bigquery", "reverse-etl:run"],
        },
        schedules={
            "shop-daily": ("shop-daily", "0 4 * * *"),
            "hours": ("help-desk-hourly", "@hourly"),
            "never": ("export", "@once"),
        },
        loader={},
        ledger="ops",
        metabase=True,
    )


@pytest.fixture
def manifest() -> dict[str, Any]:
    """Two staging models, a mart, a test, a dashboard."""
    source = {
        name: {
            "unique_id": f"source.p.shop.{name}",
            "resource_type": "source",
            "package_name": "p",
            "source_name": "shop",
            "name": name,
            "description": f"All {name}.",
            "fqn": ["p", "staging", "shop", "shop", name],
            "original_file_path": "models/staging/shop/src_shop.yml",
            "meta": {},
            "tags": [],
            "config": {"enabled": True},
            "freshness": freshness,
        }
        for name, freshness in {
            "customers": None,
            "orders": {
                "warn_after": {"count": 36, "period": "hour"},
                "error_after": {"count": 3, "period": "day"},
            },
        }.items()
    }
    models = {
        name: node(f"model.p.{name}", "model", [*folder, name], reads)
        for name, folder, reads in (
            ("stg_shop__customers", ["staging", "shop"], ["source.p.shop.customers"]),
            ("stg_shop__orders", ["staging", "shop"], ["source.p.shop.orders"]),
            ("dim_customers", ["marts", "core"], ["model.p.stg_shop__customers"]),
            ("fct_orders", ["marts", "core"], ["model.p.stg_shop__orders"]),
        )
    }
    test = node("test.p.unique_dim_customers.1", "test", ["marts", "core", "unique_dim_customers"])
    test |= {
        "name": "unique_dim_customers",
        "attached_node": "model.p.dim_customers",
        "depends_on": {"nodes": ["model.p.dim_customers"]},
    }
    exposure = {
        "unique_id": "exposure.p.sales",
        "name": "sales",
        "type": "dashboard",
        "description": "Sales of the week.",
        "url": "https://metabase.example.com/dashboard/1",
        "depends_on": {"nodes": ["model.p.fct_orders"]},
    }
    nodes = {one["unique_id"]: one for one in [*models.values(), test]}
    children: dict[str, list[str]] = {
        one["unique_id"]: [] for one in [*nodes.values(), *source.values()]
    }
    for one in nodes.values():
        for read in one["depends_on"]["nodes"]:
            children[read].append(one["unique_id"])
    return {
        "metadata": {"project_name": "p", "adapter_type": "bigquery"},
        "nodes": nodes,
        "sources": {one["unique_id"]: one for one in source.values()},
        "exposures": {exposure["unique_id"]: exposure},
        "metrics": {},
        "semantic_models": {},
        "saved_queries": {},
        "unit_tests": {},
        "selectors": {},
        "parent_map": {key: one["depends_on"]["nodes"] for key, one in nodes.items()},
        "child_map": children,
    }


def node(id_: str, kind: str, path: list[str], reads: list[str] | None = None) -> dict[str, Any]:
    return {
        "unique_id": id_,
        "resource_type": kind,
        "package_name": "p",
        "name": path[-1],
        "alias": path[-1],
        "schema": "dbt",
        "database": "local",
        "relation_name": None,
        "description": "",
        "fqn": ["p", *path],
        "original_file_path": f"models/{'/'.join(path)}.sql",
        "path": "/".join(path),
        "tags": [],
        "meta": {},
        "columns": {},
        "checksum": {"name": "sha256", "checksum": id_},
        "config": {"materialized": "table", "enabled": True, "tags": [], "meta": {}},
        "depends_on": {"nodes": reads or [], "macros": []},
    }
