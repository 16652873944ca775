"""Events in the tools: a history up to the product's current day, and ticks."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from psycopg import Connection, sql
from psycopg.types.string import TextLoader

from sandbox.product.database import Clock
from sandbox.product.tables import ORGANISATIONS, USERS, Organisation, Table, User
from sandbox.product.world import HISTORY
from sandbox.saas.close import world as close
from sandbox.saas.day import Account, Day, day_of
from sandbox.saas.documents import SCHEMA, Documents
from sandbox.saas.github import world as github
from sandbox.saas.intercom import world as intercom
from sandbox.saas.stripe import world as stripe
from sandbox.saas.surveys import world as surveys
from sandbox.saas.uptime import world as uptime

TOOLS = {
    "close": close,
    "intercom": intercom,
    "stripe": stripe,
    "surveys": surveys,
    "uptime": uptime,
    "github": github,
}
ACCOUNTS = """
create table sandbox.accounts (
    organisation_id uuid primary key,
    number integer not null unique  -- in the order of sign-up; never given twice
);
"""


@dataclass(frozen=True)
class Product:
    """The organisations and users of the product, in the order of creation."""

    organisations: dict[UUID, Organisation]
    users: dict[UUID, User]

    @classmethod
    def read(cls, connection: Connection[Any]) -> "Product":
        """Read the rows from the product's database; jsonb is text."""
        connection.adapters.register_loader("jsonb", TextLoader)
        organisations = _rows(connection, ORGANISATIONS)
        users = _rows(connection, USERS)
        return cls({row.id: row for row in organisations}, {row.id: row for row in users})


def make_history(connection: Connection[Any], clock: Clock) -> None:
    """Simulate every day of the product's history in the tools."""
    connection.execute(SCHEMA)
    connection.execute(ACCOUNTS)
    product = Product.read(connection)
    accounts = _number(connection, product.organisations.values())
    tools = {name: Documents(name) for name in TOOLS}
    for day in days(product, accounts, clock):
        for name, world in TOOLS.items():
            day.rng = chance(clock, name, day.date)
            world.pass_day(tools[name], day)
    for documents in tools.values():
        documents.save(connection)
    connection.execute("analyze sandbox.documents")


def pass_by(connection: Connection[Any], clock: Clock, before: Product) -> dict[str, int]:
    """Simulate the product's last day in the tools.

    Returns:
        The number of objects that each tool added, changed or deleted.
    """
    product = Product.read(connection)
    new = [row for id_, row in product.organisations.items() if id_ not in before.organisations]
    _number(connection, new)
    numbers = dict(
        connection.execute("select organisation_id, number from sandbox.accounts").fetchall()
    )
    accounts = {id_: Account(row, numbers[id_]) for id_, row in product.organisations.items()}
    day = Day(
        date=clock.today,
        rng=Random(),
        accounts=accounts,
        users=_by_organisation(product.users.values()),
        signed_up=[accounts[row.id] for row in new],
        set_up=_happened(accounts.values(), "setup_completed_at", clock.today),
        archived=_happened(accounts.values(), "archived_at", clock.today),
        joined=[row for id_, row in product.users.items() if id_ not in before.users],
        purged=frozenset(before.organisations.keys() - product.organisations.keys()),
        erased=frozenset(before.users.keys() - product.users.keys()),
        now=datetime.now(UTC),
    )
    changed = {}
    for name, world in TOOLS.items():
        day.rng = chance(clock, name, day.date)
        documents = Documents.load(connection, name)
        world.pass_day(documents, day)
        changed[name] = documents.save(connection)
    return changed


def days(product: Product, accounts: dict[UUID, Account], clock: Clock) -> Iterable[Day]:
    """Yield the days from the first to the product's current day, each with its final state."""
    signed_up, set_up, archived = (
        _by_day(accounts.values(), moment)
        for moment in ("created_at", "setup_completed_at", "archived_at")
    )
    joined = defaultdict(list)
    for user in product.users.values():
        joined[day_of(user.created_at)].append(user)
    present: dict[UUID, Account] = {}
    users: dict[UUID, list[User]] = defaultdict(list)
    for number in range(HISTORY.days + 1):
        today = clock.today - HISTORY + timedelta(days=number)
        present |= {account.organisation.id: account for account in signed_up[today]}
        for user in joined[today]:
            users[user.organisation_id].append(user)
        yield Day(
            date=today,
            rng=Random(),
            accounts=present,
            users=users,
            signed_up=signed_up[today],
            set_up=set_up[today],
            archived=archived[today],
            joined=joined[today],
        )


def chance(clock: Clock, tool: str, today: date) -> Random:
    """Return the random generator of a tool and a day."""
    return Random(f"{clock.seed}/{tool}/{today}")


def _number(
    connection: Connection[Any], organisations: Iterable[Organisation]
) -> dict[UUID, Account]:
    """Give new organisations the next numbers."""
    ((taken,),) = connection.execute(
        "select coalesce(max(number) + 1, 0) from sandbox.accounts"
    ).fetchall()
    accounts = {row.id: Account(row, taken + i) for i, row in enumerate(organisations)}
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into sandbox.accounts values (%s, %s)",
            [(id_, account.number) for id_, account in accounts.items()],
        )
    return accounts


def _rows[Row: tuple[Any, ...]](connection: Connection[Any], table: Table[Row]) -> list[Row]:
    statement = sql.SQL("select {} from {} order by created_at, id").format(
        sql.SQL(", ").join(map(sql.Identifier, table.columns)), sql.Identifier(table.name)
    )
    return [table.row(values) for values in connection.execute(statement)]


def _by_organisation(users: Iterable[User]) -> dict[UUID, list[User]]:
    found: dict[UUID, list[User]] = defaultdict(list)
    for user in users:
        found[user.organisation_id].append(user)
    return found


def _by_day(accounts: Iterable[Account], moment: str) -> dict[date, list[Account]]:
    found: dict[date, list[Account]] = defaultdict(list)
    for account in accounts:
        if at := getattr(account.organisation, moment):
            found[day_of(at)].append(account)
    return found


def _happened(accounts: Iterable[Account], moment: str, today: date) -> list[Account]:
    return _by_day(accounts, moment).get(today, [])
