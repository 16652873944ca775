"""What a user of the jobs of Close, Intercom and Stripe relies on, from their APIs to the marts."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ..stack import Stack, searched_since
from ..world import Contacts, World
from .conftest import EverySource

# Everything here happens to one world, in this order.


def check(stack: Stack, contacts: Contacts) -> None:
    """The marts say what the world holds: counts, sums by organisation, revenue to the cent."""
    check_sales(stack)
    check_support(stack, contacts)
    check_billing(stack)


def check_sales(stack: Stack) -> None:
    """The same, of what Close feeds."""
    world = World.read(stack.status["postgres"]["dsn"])
    opportunities = stack.query(
        """
        select organisation_id,
            case when is_won then 'won' when is_lost then 'lost' else 'active' end as outcome,
            currency, count(*) as n, sum(coalesce(value, 0)) as value
        from dbt.fct_opportunities group by 1, 2, 3
        """
    )
    assert keyed(opportunities, 3) == world.opportunities()

    organisations = stack.query("select id, lead_id, lead_status from dbt.dim_organisations")
    leads = world.chosen_leads()
    assert keyed(organisations, 1) == {
        (id_,): leads.get(id_, (None, None)) for id_ in world.organisations
    }


def check_support(stack: Stack, contacts: Contacts) -> None:
    """The same, of what Intercom feeds."""
    world = World.read(stack.status["postgres"]["dsn"])
    contacts |= world.contacts()
    conversations = stack.query(
        "select organisation_id, state, count(*) as n from dbt.fct_conversations group by 1, 2"
    )
    assert {key: n for key, (n,) in keyed(conversations, 2).items()} == world.conversations(
        contacts
    )


def check_billing(stack: Stack) -> None:
    """The same, of what Stripe feeds."""
    world = World.read(stack.status["postgres"]["dsn"])
    today = datetime.now(UTC).date()
    subscriptions = stack.query(
        """
        select organisations.id, status, count(*) as n
        from dbt.stg_stripe__subscriptions as subscriptions
        left join dbt.dim_organisations as organisations
            on subscriptions.organisation_id = organisations.id
        group by 1, 2
        """
    )
    assert {key: n for key, (n,) in keyed(subscriptions, 2).items()} == world.subscriptions()

    invoices = stack.query(
        """
        select organisations.id, status, currency, count(*) as n, sum(total) as total
        from dbt.stg_stripe__invoices as invoices
        left join dbt.dim_organisations as organisations
            on invoices.organisation_id = organisations.id
        group by 1, 2, 3
        """
    )
    assert keyed(invoices, 3) == world.invoices()

    mrr = stack.query(
        "select coalesce(organisation_id, customer_id) as subscriber, currency, month, mrr "
        "from dbt.fct_subscription_mrr"
    )
    this_month, changing = today.replace(day=1), world.changing_after(today)

    def settled(amounts: Mapping[tuple[Any, ...], Decimal]) -> dict[tuple[Any, ...], Decimal]:
        """Without what today's revenue of a subscriber is who changes after today."""
        return {
            key: amount
            for key, amount in amounts.items()
            if key[0] not in changing or key[2] < this_month
        }

    expected = settled(world.mrr(today))
    # A trial has a row, and brings in nothing.
    found = {key: amount for key, (amount,) in keyed(mrr, 3).items() if amount}
    assert settled(found) == expected

    organisations = stack.query(
        "select id, is_paying, is_in_arrears, amount_due, mrr from dbt.dim_organisations"
    )
    due = world.amounts_due(today)
    paying = {id_ for id_, status in world.subscriptions() if status in ("active", "past_due")}
    now = {key[0]: amount for key, amount in expected.items() if key[2] == this_month}
    assert {row["id"] for row in organisations} == world.organisations
    unchanging = [row for row in organisations if row["id"] not in changing]
    assert keyed(unchanging, 1) == {
        (id_,): (id_ in paying, id_ in due, due.get(id_, 0), now.get(id_, 0))
        for id_ in world.organisations - changing
    }


def keyed(rows: list[dict[str, Any]], key_columns: int) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Rows by their first columns, which no two share."""
    found = {}
    for row in rows:
        values = tuple(row.values())
        assert values[:key_columns] not in found
        found[values[:key_columns]] = values[key_columns:]
    return found


def test_the_marts_equal_the_world(stack: Stack, contacts: Contacts) -> None:
    stack.load_and_build()  # other tests may have let days pass
    check(stack, contacts)


def test_the_odd_cases_are_all_there(stack: Stack) -> None:
    (found,) = stack.query(
        """
        select
            countif(lead_id is null) as without_lead,
            countif(not exists (
                select 1 from dbt.stg_intercom__companies as companies
                where companies.organisation_id = organisations.id
            )) as without_company,
            countif(billing_currency is null) as without_customer,
            countif((
                select count(*) from dbt.stg_close__leads as leads
                where leads.organisation_id = organisations.id
            ) > 1) as with_two_leads,
            (select count(*) from dbt.stg_close__leads where organisation_id is null) as prospects
        from dbt.dim_organisations as organisations
        """
    )
    assert all(found.values()), found


def test_the_builds_have_no_warning(every_source: EverySource) -> None:
    summaries = re.findall(r"PASS=\d+ WARN=(\d+) ERROR=(\d+) SKIP=(\d+)", every_source.log)
    assert summaries == [("0", "0", "0")] * 4
    dbt = [line for line in every_source.log.splitlines() if re.search(r"] dbt-\w+ ", line)]
    assert dbt
    assert not [line for line in dbt if "[WARNING]" in line]


def test_everything_that_metabase_shows_is_described(stack: Stack) -> None:
    tables = stack.metabase_tables()
    assert [name for name, table in tables.items() if not table["description"]] == []
    fields = [(name, field) for name, table in tables.items() for field in table["fields"]]
    assert [(name, one["name"]) for name, one in fields if not one["description"]] == []


def test_a_day_later_only_what_changed_is_asked_for(
    stack: Stack, requests_before: int, contacts: Contacts
) -> None:
    check(stack, contacts)

    first, second = stack.requests(), stack.requests(since=requests_before)
    first = first[:requests_before]
    bookmark = max(request["at"] for request in first)
    assert {request["status"] for request in second} <= {200, 404}
    assert len(second) < len(first)
    # Close: leads and contacts from the last bookmark on.
    searches = [
        searched_since(request) for request in second if request["path"] == "/api/v1/data/search/"
    ]
    assert searches
    assert min(searches) > "2025-01-01T00:00:00.000000+00:00"
    # Intercom: whole conversations only where they have changed.
    changed = {
        f"/conversations/{body['id']}"
        for body in World.read(stack.status["postgres"]["dsn"]).intercom.of("conversation")
        if body["updated_at"] >= int(bookmark)
    }
    assert changed
    assert changed <= conversations(second)
    assert len(conversations(second)) < len(conversations(first)) / 2
    # Stripe: events since the hour before the last run, and objects that they name.
    of_stripe = [request for request in second if request["tool"] == "stripe"]
    since = {
        int(dict(request["query"])["created[gte]"])
        for request in of_stripe
        if request["path"] == "/v1/events"
    }
    assert min(since) > bookmark - 2 * 3600
    lists = {request["path"] for request in of_stripe if request["path"].count("/") == 2}
    assert lists <= {"/v1/events", "/v1/balance_transactions", "/v1/invoiceitems"}


def conversations(requests: list[dict[str, Any]]) -> set[str]:
    """The conversations that were asked for one by one."""
    paths = (request["path"] for request in requests)
    return {path for path in paths if re.fullmatch(r"/conversations/\d+", path)}
