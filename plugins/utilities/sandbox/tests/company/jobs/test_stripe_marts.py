"""Revenue of a company that charges in every way: to the cent, however Stripe was read."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest
from sandbox.saas.documents import Documents
from sandbox.saas.stripe import every_way
from sandbox.saas.stripe.ledger import monthly_revenue, monthly_usage, set_version

from ..conftest import running_stack
from ..stack import Row, Stack
from ..world import ZERO_DECIMAL, months
from .test_stripe import EXTRACT_LOAD, messages_of_tap_stripe

CUSTOMERS = len(every_way.WAYS)
"""One for each way of charging."""
DAYS_BY_EVENTS = 6
BUILD = "dbt-stripe:build"
Amounts = dict[tuple[str, str, date], int]


@dataclass
class Billing:
    """That company, on a sandbox of its own."""

    stack: Stack
    documents: Documents
    day: date

    def pass_days(self, count: int, version: str) -> None:
        """Let days pass, whose events are in a version of the API."""
        for _ in range(count):
            self.day += timedelta(days=1)
            every_way.pass_day(self.documents, self.day, now=datetime.now(UTC))
        with self.stack.postgres() as connection:
            self.documents.save(connection)
            set_version(connection, version)

    def load_and_build(self) -> None:
        self.stack.meltano("run", *EXTRACT_LOAD, BUILD)

    def load_from_scratch(self) -> None:
        """Read everything by lists, into a new dataset."""
        self.stack.query("drop schema if exists stripe cascade")
        self.stack.meltano("run", "--full-refresh", *EXTRACT_LOAD)

    def staging(self) -> dict[str, list[str]]:
        """The rows of all staging models: views, so of what is loaded by now."""
        tables = [
            table
            for table in self.stack.warehouse.list_tables("dbt")
            if table.table_id.startswith("stg_stripe__")
        ]
        assert {table.table_type for table in tables} == {"VIEW"}
        return {
            table.table_id: sorted(
                json.dumps(row, default=str, sort_keys=True)
                for row in self.stack.query(f"select * from dbt.{table.table_id}")
            )
            for table in tables
        }

    def months(self) -> list[Row]:
        return self.stack.query(
            "select customer_id, currency, month, mrr, gross_mrr, metered_amount "
            "from dbt.fct_subscription_mrr"
        )

    def check(self, within: int = 0) -> None:
        """Revenue and usage are what the company's own books say, within so many cents.

        dbt knows what is due between the company's day and today, its books don't: unless it is
        the same day, only months that were over by then are compared.
        """
        month = self.day.replace(day=1)
        if self.day == datetime.now(UTC).date():
            month += timedelta(days=31)
        rows = [row for row in self.months() if row["month"] < month]
        payers = {
            payer["id"]: payer["organisation_id"] or payer["id"]
            for payer in self.documents.of("_payer")
        }
        first = min(row["month"] for row in rows)
        every_month = list(months(first, max(row["month"] for row in rows)))
        revenue = {
            key: rounded(amount)
            for key, amount in monthly_revenue(self.documents, every_month).items()
        }
        found = added_up(rows, "mrr", payers)
        assert {
            key: (found.get(key), revenue.get(key))
            for key in found.keys() | revenue.keys()
            if abs(found.get(key, 0) - revenue.get(key, 0)) > within
        } == {}
        usage = {k: v for k, v in monthly_usage(self.documents).items() if v and k[2] < month}
        assert added_up(rows, "metered_amount", payers) == usage


def different(one: dict[str, list[str]], other: dict[str, list[str]]) -> dict[str, list[str]]:
    """The rows that only one of them has."""
    assert one.keys() == other.keys()
    return {name: sorted({*one[name]} ^ {*other[name]}) for name in one if one[name] != other[name]}


def added_up(rows: list[Row], column: str, payers: dict[str, str]) -> Amounts:
    """What there is by subscriber, currency and month, in the currency's smallest unit."""
    found: Amounts = defaultdict(int)
    for row in rows:
        currency = row["currency"]
        units = 1 if currency in ZERO_DECIMAL else 1000 if currency == "KWD" else 100
        key = (payers[row["customer_id"]], currency.lower(), row["month"])
        found[key] += int(row[column] * units)
    return {key: amount for key, amount in found.items() if amount}


def rounded(amount: Fraction) -> int:
    """Half a unit counts as one."""
    return int(amount + Fraction(1, 2))


@pytest.fixture(scope="module")
def billing(tmp_path_factory: pytest.TempPathFactory, secrets: frozenset[str]) -> Iterator[Billing]:
    """No organisation of it is known to the product, so each customer is a subscriber."""
    with running_stack(tmp_path_factory.mktemp("billing"), secrets) as stack:
        day = datetime.now(UTC).date() - timedelta(days=2 * DAYS_BY_EVENTS)
        documents = every_way.build(CUSTOMERS, today=day)
        with stack.postgres() as connection:
            every_way.replace_all(connection, documents)
        yield Billing(stack, documents, day)


# Everything here happens to one company, in this order. Marts are made of staging's rows alone:
# where these are the same, so are the marts, and one build says what is in both.


def test_rows_of_the_tap_before_say_what_the_books_say(billing: Billing) -> None:
    stack = billing.stack
    stack.load("stripe", itertools.chain(*dict(messages_of_tap_stripe(stack)).values()))
    # Plans aren't among these rows, so tests of `plan_id` would fail.
    stack.meltano("invoke", BUILD, "--exclude-resource-type", "test")
    # That tap read no tiers. A change of such a price is estimated from what was charged for it.
    billing.check(within=5)


def test_the_newest_version_over_these_rows_says_what_it_says_alone(billing: Billing) -> None:
    billing.load_and_build()
    billing.check()
    over_old_rows = billing.staging()
    billing.load_from_scratch()
    # The views read columns that are gone with the old rows.
    billing.stack.meltano("invoke", "dbt-bigquery", "run", "--select", "staging.stripe")
    assert different(billing.staging(), over_old_rows) == {}


@pytest.mark.parametrize("version", ["2022-11-15", "2026-10-28.endive"])
def test_events_of_every_version_say_what_lists_say(billing: Billing, version: str) -> None:
    billing.pass_days(DAYS_BY_EVENTS, version)
    billing.load_and_build()
    billing.check()
    by_events = billing.staging()
    billing.load_from_scratch()
    assert different(billing.staging(), by_events) == {}
