"""As much of Metabase's API as a push uses, in memory: what is written, and by whom."""

import copy
import itertools
import json
import uuid
from typing import Any

from metabase_content.api import ITEMS, Metabase, Refused

Json = dict[str, Any]
COLUMNS = {
    "dim_organisations": ["id", "name", "plan", "mrr", "is_archived"],
    "fct_opportunities": ["id", "organisation_id", "status", "value", "created_at"],
}
DASHBOARD = {"width": "fixed", "auto_apply_filters": True, "tabs": [], "dashcards": []}
LISTED = {"question": "card", "model": "dataset", "metric": "metric"}


class FakeMetabase(Metabase):
    """Answers in the process. `rows` is what it holds; people change it without the API."""

    def __init__(self, version: str = "v0.62.2", first_id: int = 1) -> None:
        super().__init__("http://metabase.test", "key")
        self.version = version
        self.first_id = first_id
        self.numbers = itertools.count(first_id + 10)
        self.rows: dict[str, dict[int, Json]] = {
            kind: {} for kind in ("collection", "card", "dashboard", "segment")
        }
        self.read_only = False
        self.forbidden: set[str] = set()
        self.dislikes: set[str] = set()
        self.fails_after: int | None = None

    def request(self, method: str, path: str, body: Any = None, **_query: Any) -> Any:
        if f"{method} {path}".startswith(tuple(self.forbidden)):
            raise Refused(403, f"the API key has no right to {method} {path}")
        if method != "GET":
            if self.read_only:
                raise Refused(403, "the API key has no right to it")
            if self.fails_after == 0:
                raise KeyboardInterrupt
            if self.fails_after is not None:
                self.fails_after -= 1
            self.writes += 1
        answer = self.answer(method, path.removeprefix("/api/"), copy.deepcopy(body))
        return json.loads(json.dumps(answer))

    def answer(self, method: str, path: str, body: Json) -> Any:
        kind, _, rest = path.partition("/")
        match method, kind, rest:
            case "GET", "session", "properties":
                return {"version": {"tag": self.version}}
            case "GET", "database", "":
                return {"data": [{"id": self.first_id, "name": "All (dbt)"}]}
            case "GET", "database", _:
                return {"id": self.first_id, "name": "All (dbt)", "tables": list(self.tables())}
            case "GET", "collection", _ if rest.endswith("/items"):
                return {"data": list(self.listed(rest.split("/")[0]))}
            case "GET", _, "":
                return list(self.rows[kind].values())
            case "GET", _, _:
                return self.found(kind, rest)
            case "POST", _, "":
                return self.make(kind, body)
            case "DELETE", "dashboard", _:
                del self.rows[kind][int(rest)]
                own = [
                    row for row in self.rows["card"].values() if row["dashboard_id"] == int(rest)
                ]
                for row in own:
                    del self.rows["card"][row["id"]]
                return None
            case "PUT", _, _:
                return self.alter(kind, self.found(kind, rest), body)
        raise AssertionError(f"{method} {path}")

    def tables(self) -> Any:
        number = itertools.count(self.first_id * 100)
        for name, columns in COLUMNS.items():
            fields = [{"id": next(number), "name": column} for column in columns]
            yield {"id": next(number), "schema": "dbt", "name": name, "fields": fields}

    def listed(self, place: str) -> Any:
        home = None if place == "root" else int(place)
        for kind in ("card", "dashboard"):
            for row in self.rows[kind].values():
                if row["collection_id"] == home and not row["archived"]:
                    model = LISTED[row["type"]] if kind == "card" else kind
                    if not row.get("dashboard_id"):
                        yield {**row, "model": model}
        assert set(LISTED.values()) < set(ITEMS)

    def found(self, kind: str, reference: str) -> Json:
        for row in self.rows[kind].values():
            if reference in (str(row["id"]), row["entity_id"]):
                return row
        raise Refused(404, "Not found.")

    def make(self, kind: str, body: Json) -> Json:
        if body["name"] in self.dislikes:
            raise Refused(400, "dataset_query: value must be a query.")
        number = next(self.numbers)
        own = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.first_id}/{number}").hex[:21]
        row = {"id": number, "entity_id": own, "archived": False, "description": None}
        row |= {"dashboard": DASHBOARD, "card": {"dashboard_id": None}}.get(kind, {})
        if kind != "collection":
            row |= {"collection_id": None, "collection_position": None, "parameters": []}
        self.rows[kind][number] = copy.deepcopy(row)
        return self.alter(kind, self.rows[kind][number], body)

    def alter(self, kind: str, row: Json, body: Json) -> Json:
        if kind == "collection" and "parent_id" in body:
            above = self.rows[kind].get(body["parent_id"] or 0)
            row["location"] = f"{above['location']}{above['id']}/" if above else "/"
        tabs = {}
        for tab in body.get("tabs", []):
            tabs[tab["id"]] = tab["id"] if tab["id"] > 0 else next(self.numbers)
            tab |= {"id": tabs[tab["id"]], "entity_id": f"tab{tabs[tab['id']]:018}"}
        for item in body.get("dashcards", []):
            item["id"] = item["id"] if item["id"] > 0 else next(self.numbers)
            item["dashboard_tab_id"] = tabs.get(item["dashboard_tab_id"])
            item["entity_id"] = f"dashcard{item['id']:013}"
        row |= body
        return row

    # --- What people do in the page

    def named(self, kind: str, name: str) -> Json:
        return next(row for row in self.rows[kind].values() if row["name"] == name)

    def shape(self) -> Any:
        """What it holds, without numbers."""
        return sorted(
            (kind, row["name"], row["description"], len(row.get("dashcards", [])), row["archived"])
            for kind, rows in self.rows.items()
            for row in rows.values()
        )
