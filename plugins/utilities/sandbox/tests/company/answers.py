"""What each question that comes with the stack has to answer: computed in Python, from records.

The records come from the product's tables and from the documents behind the tools' APIs; those of
*Is the data fresh?* from the ledger. Nothing here reads a model, or what a question is made of.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from html.parser import HTMLParser
from statistics import fmean
from types import SimpleNamespace as Record
from typing import Any

import psycopg
from psycopg.rows import dict_row
from sandbox.saas.documents import Body

from .world import World, money, months

TABLES = (
    *("organisations", "users", "incidents", "incident_participants", "actions"),
    "timeline_items",
)
STEPS = (
    *("Signed up", "Brought a colleague in", "Completed set-up"),
    *("Created a first incident", "Closed a first incident", "Paid a first invoice"),
)
MOVEMENTS = ("new", "expansion", "reactivation", "contraction", "churn")
IN_FORCE = ("active", "past_due")
A_YEAR = {"year": 1, "month": 12}
USD_A_BYTE = 6.25 / 2**40
KNOWN_LOADS, COMPARED_LOADS = 7, 30
"""A load is unusual only beside so many others; it is compared with so many."""
NOBODY = Record(id=None, name=None, plan=None, owner=None, is_in_arrears=None)
"""The organisation of what belongs to none."""


class Company:
    """The company as records of what people ask about.

    A record has the values that questions show, and what dashboards filter by, under the filters'
    names: `opened` is when a deal was entered, or when a conversation began.
    """

    def __init__(
        self,
        dsn: str,
        loads: Iterable[Mapping[str, Any]],
        nodes: Iterable[Mapping[str, Any]],
        contacts: Iterable[Body],
    ) -> None:
        """Read the company as it is now.

        Args:
            dsn: The product's Postgres, which holds the tools' documents too.
            loads: The loader's ledger.
            nodes: dbt's ledger.
            contacts: All contacts that Intercom ever showed: conversations of those that it has
                deleted still count for their organisations.
        """
        self.today = datetime.now(UTC).date()
        self.world = World.read(dsn)
        self._loads = [Record(**row) for row in loads]
        self._nodes = [Record(**row) for row in nodes]
        self._contacts = [*contacts, *self.world.intercom.of("contact")]
        with psycopg.connect(dsn, row_factory=dict_row) as connection:
            self._tables = {
                table: [
                    Record(**{name: plain_key(name, value) for name, value in row.items()})
                    for row in connection.execute(f"select * from {table}").fetchall()
                ]
                for table in TABLES
            }

    # --- The product

    @cached_property
    def _accounts(self) -> dict[str | None, Record]:
        """Each organisation with its plan and owner: what others are grouped by."""
        owners, billing = self._owners(), self._billing()
        unbilled = Record(plan=None, currency=None, mrr=Decimal(), is_paying=False)
        accounts: dict[str | None, Record] = {None: NOBODY}
        for row in self._tables["organisations"]:
            bill = billing.get(row.id, unbilled)
            due = self._due.get(row.id, {})
            accounts[row.id] = Record(
                **vars(row) | vars(bill),
                amount_due=due.get(bill.currency, Decimal()),
                is_in_arrears=any(due.values()),
                owner=owners.get(row.id),
                signed_up=row.created_at,
                has_slack=row.slack_team_id is not None,
            )
        return accounts

    def _of(self, table: str) -> dict[str, list[Record]]:
        """The rows of a table by organisation."""
        return grouped(self._tables[table], lambda row: row.organisation_id)

    @cached_property
    def organisations(self) -> list[Record]:
        users, incidents = self._of("users"), self._of("incidents")
        conversations = grouped(self.conversations, lambda one: one.organisation.id)
        contacted = self._last_contacts()
        found = []
        for id_, account in self._accounts.items():
            if id_ is None:
                continue
            # What has happened since an organisation was archived doesn't count.
            last = (account.archived_at or datetime.now(UTC)).date()
            real = [one for one in incidents[id_] if not one.test]
            account.users = sum(
                one.created_at.date() <= last
                and not (one.archived_at and one.archived_at.date() <= last)
                for one in users[id_]
            )
            account.incidents = sum(one.created_at.date() <= last for one in real)
            account.open_incidents = sum(is_open(one) for one in real)
            account.conversations = sum(
                0 <= (self.today - one.opened.date()).days <= 30 for one in conversations[id_]
            )
            account.contacted = contacted.get(id_)
            found.append(account)
        return found

    @cached_property
    def users(self) -> list[Record]:
        return [
            Record(**vars(row), plan=self._accounts[row.organisation_id].plan)
            for row in self._tables["users"]
        ]

    @cached_property
    def incidents(self) -> list[Record]:
        people: dict[str, set[str | None]] = defaultdict(set)
        open_actions: dict[str, int] = defaultdict(int)
        for row in self._tables["incidents"]:
            people[row.id] |= {row.creator_id, row.lead_id}
        for row in (*self._tables["incident_participants"], *self._tables["timeline_items"]):
            people[row.incident_id].add(row.user_id)
        for row in self._tables["actions"]:
            people[row.incident_id].add(row.assignee_id)
            open_actions[row.incident_id] += row.status == "outstanding"
        return [
            Record(
                **vars(row) | {"reference": f"INC-{row.reference}"},
                is_open=is_open(row),
                affected_team=(row.custom_fields or {}).get("affected_team"),
                people=len(people[row.id] - {None}),
                open_actions=open_actions[row.id],
                organisation=self._accounts[row.organisation_id].name,
                plan=self._accounts[row.organisation_id].plan,
            )
            for row in self._tables["incidents"]
            if not row.test and not row.archived_at
        ]

    @cached_property
    def items(self) -> list[Record]:
        """What is on the incidents' timelines."""
        return [
            Record(
                **vars(row),
                when=row.created_at,
                author="People" if row.user_id else "The product",
                text=row.content.get("text"),
                reactions=sum(one["count"] for one in row.content.get("reactions", ())),
                organisation=self._accounts[row.organisation_id].name,
                plan=self._accounts[row.organisation_id].plan,
            )
            for row in self._tables["timeline_items"]
        ]

    @cached_property
    def steps(self) -> list[Record]:
        """The steps of the set-up that organisations have taken, each after all before it."""
        users, incidents = self._of("users"), self._of("incidents")
        payments: dict[str | None, list[datetime]] = defaultdict(list)
        payers = self.world.payers()
        for invoice in self.world.stripe.of("invoice"):
            if invoice["amount_paid"] and (paid := invoice["status_transitions"]["paid_at"]):
                payments[payers[invoice["customer"]]].append(moment(paid))
        found = []
        for account in self.organisations:
            times = (
                account.created_at,
                next(iter(sorted(one.created_at for one in users[account.id])[1:]), None),
                account.setup_completed_at,
                earliest(one.created_at for one in incidents[account.id]),
                earliest(one.closed_at for one in incidents[account.id]),
                earliest(payments[account.id]),
            )
            reached = account.created_at
            for number, (step, time) in enumerate(zip(STEPS, times, strict=True), 1):
                if time is None:
                    break
                before, reached = reached, max(reached, time)
                found.append(
                    Record(
                        number=number,
                        step=step,
                        organisation=account.name,
                        plan=account.plan,
                        signed_up=account.created_at,
                        reached=reached,
                        hours=hours(account.created_at, reached),
                        hours_of_step=hours(before, reached) if number > 1 else None,
                    )
                )
        return found

    # --- Sales

    def _owners(self) -> dict[str, str | None]:
        """The salesperson of each organisation: the owner of the lead that stands for it."""
        names = {
            user["id"]: f"{user['first_name']} {user['last_name']}".strip()
            for user in self.world.close.of("user")
        }
        leads = {lead["id"]: lead for lead in self.world.close.of("lead")}
        return {
            id_: names.get(leads[lead_id]["custom"].get("Lead Owner"))
            for id_, (lead_id, _) in self.world.chosen_leads().items()
        }

    def _last_contacts(self) -> dict[str | None, datetime]:
        """When somebody of the company last contacted each organisation."""
        leads = self.world.leads()
        contacts = [
            (leads[body["lead_id"]], datetime.fromisoformat(sent or body["date_created"]))
            for body in self.world.close.of("activity")
            for sent in [body.get("date_sent")]
            if body["lead_id"] in leads
            and (
                body["_type"] == "Meeting"
                or (body["_type"] == "Call" and body["direction"] == "outbound")
                or (body["_type"] == "Email" and body["status"] == "sent")
            )
        ]
        contacts += [
            (one.organisation.id, one.contacted) for one in self.conversations if one.contacted
        ]
        found: dict[str | None, datetime] = {}
        for id_, at in contacts:
            found[id_] = max(at, found.get(id_, at))
        return found

    @cached_property
    def deals(self) -> list[Record]:
        leads = self.world.leads()
        found = []
        for lead in self.world.close.of("lead"):
            for deal in lead["opportunities"]:
                outcome, currency = deal["status_type"], deal["value_currency"]
                entered = datetime.fromisoformat(deal["date_created"])
                closed = {"won": deal["date_won"], "lost": deal["date_lost"]}.get(outcome)
                likelihood = {"won": 100, "lost": 0}.get(outcome, deal["confidence"])
                worth = None
                if deal["value"] is not None:
                    times = 12 if deal["value_period"] == "monthly" else 1
                    worth = money(deal["value"] * times, currency)
                found.append(
                    Record(
                        lead=lead["display_name"],
                        owner=deal["user_name"],
                        pipeline=deal["pipeline_name"],
                        status=deal["status_label"],
                        currency=currency,
                        outcome=outcome,
                        worth=worth,
                        expected=None if worth is None else worth * likelihood / 100,
                        confidence=deal["confidence"],
                        opened=entered,
                        closed=(day := closed and date.fromisoformat(closed[:10])),
                        days=day and (day - entered.date()).days,
                        plan=self._accounts[leads[lead["id"]]].plan,
                    )
                )
        return found

    # --- Support

    @cached_property
    def conversations(self) -> list[Record]:
        desk = self.world.intercom
        contacts = {body["id"]: body for body in self._contacts}
        admins = {int(body["id"]): body["name"] for body in desk.of("admin")}
        teams = {int(body["id"]): body["name"] for body in desk.of("team")}
        found = []
        for body in desk.of("conversation"):
            contact = contacts.get(body["contacts"]["contacts"][0]["id"])
            account = self._accounts[contact and self.world.organisation_of(contact)]
            asked = body["source"]["delivered_as"] == "customer_initiated"
            opened, statistics = moment(body["created_at"]), body["statistics"] or {}
            ours = [
                moment(part["created_at"])
                for part in body["conversation_parts"]["conversation_parts"]
                if part["author"]["type"] == "admin"
                and part["part_type"] != "note"
                and (part["body"] or "").strip()
            ]
            wait = statistics.get("time_to_admin_reply")
            found.append(
                Record(
                    organisation=account,
                    name=account.name,
                    plan=account.plan,
                    owner=account.owner,
                    is_in_arrears=account.is_in_arrears,
                    contact=contact and contact["name"],
                    subject=body["source"]["subject"] or None,
                    body=text_of(body["source"]["body"]),
                    state=body["state"],
                    is_open=body["state"] != "closed",
                    is_waiting=body["state"] != "closed" and body["waiting_since"] is not None,
                    waiting=body["waiting_since"] and moment(body["waiting_since"]),
                    is_urgent=body["priority"] in ("high", "urgent"),
                    team=teams.get(body["team_assignee_id"]),
                    assignee=admins.get(body["admin_assignee_id"]),
                    asked=asked,
                    opened=opened,
                    contacted=max(ours, default=None if asked else opened),
                    minutes=None if wait is None else wait // 60,
                    rating=(body["conversation_rating"] or {}).get("rating"),
                )
            )
        return found

    # --- Billing

    @cached_property
    def _revenue_of(self) -> dict[tuple[str, str], dict[date, Decimal]]:
        """By subscriber and currency: MRR of each month since the first subscription."""
        payers, amounts = self.world.payers(), self.world.mrr(self.today)
        first: dict[tuple[str, str], date] = {}
        for body in self.world.stripe.of("subscription"):
            # It never began if its first payment failed.
            if not body["status"].startswith("incomplete"):
                subscriber = payers[body["customer"]] or body["customer"]
                key = (subscriber, body["currency"].upper())
                began = moment(body["start_date"]).date().replace(day=1)
                first[key] = min(began, first.get(key, began))
        return {
            key: {
                month: amounts.get((*key, month), Decimal())
                for month in months(began, self.today.replace(day=1))
            }
            for key, began in first.items()
        }

    @cached_property
    def _due(self) -> dict[str | None, dict[str, Decimal]]:
        """What is overdue, by organisation and currency."""
        due: dict[str | None, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for id_, currency, amount in self.world.overdue(self.today):
            due[id_][currency] += amount
        return due

    def _billing(self) -> dict[str, Record]:
        """The plan, currency and revenue of each organisation that Stripe knows."""
        paid: dict[str, dict[str, dict[date, Decimal]]] = defaultdict(dict)
        for (subscriber, currency), by_month in self._revenue_of.items():
            paid[subscriber][currency] = by_month
        payers = self.world.payers()
        currencies = {id_: {*by_currency} for id_, by_currency in paid.items()}
        for body in self.world.stripe.of("customer"):
            if payers[body["id"]] and body["currency"]:
                currencies.setdefault(str(payers[body["id"]]), set()).add(body["currency"].upper())
        items = defaultdict(list)
        for subscription in self.world.stripe.of("subscription"):
            if subscription["status"] in IN_FORCE:
                for item in subscription["items"]["data"]:
                    items[payers[subscription["customer"]]].append((subscription, item))
        this_month, found = self.today.replace(day=1), {}
        for id_ in currencies:
            if id_ not in self.world.organisations:
                continue
            now = {c: by_month[this_month] for c, by_month in paid[id_].items()}
            since = {
                c: earliest(month for month, mrr in by_month.items() if mrr)
                for c, by_month in paid[id_].items()
            }
            due = self._due.get(id_, {})
            # The one in which it pays, else owes; of several, in which it has paid for longest.
            currency = min(
                currencies[id_] | {*due},
                key=lambda c: (
                    not now.get(c),
                    not due.get(c),
                    since.get(c) or date.max,
                    c,
                ),
            )
            plan = min(
                items[id_],
                key=lambda pair: (
                    pair[0]["currency"].upper() != currency,
                    -self._yearly(pair[1]),
                    pair[0]["created"],
                    pair[1]["id"],
                ),
                default=None,
            )
            found[id_] = Record(
                plan=plan and self._product_of(plan[1]),
                currency=currency,
                mrr=now.get(currency, Decimal()),
                is_paying=any(now.values()),
            )
        return found

    def _price(self, item: Body) -> Body:
        return self.world.stripe.get("price", item["price"]["id"]) or item["price"]

    def _yearly(self, item: Body) -> int:
        price = self._price(item)
        times = A_YEAR[price["recurring"]["interval"]] // price["recurring"]["interval_count"]
        return int(price["unit_amount"] * item["quantity"] * times)

    def _product_of(self, item: Body) -> str:
        product = self.world.stripe.get("product", self._price(item)["product"])
        return str(product and product["name"])

    @cached_property
    def revenue(self) -> list[Record]:
        """A record for each subscriber, currency and month."""
        found = []
        for (subscriber, currency), by_month in self._revenue_of.items():
            before = highest = Decimal()
            for month, mrr in by_month.items():
                movement = (
                    None
                    if mrr == before
                    else ("reactivation" if highest else "new")
                    if not before
                    else "churn"
                    if not mrr
                    else "expansion"
                    if mrr > before
                    else "contraction"
                )
                moved = dict.fromkeys(MOVEMENTS, Decimal())
                if movement:
                    moved[movement] = mrr - before
                account = self._accounts.get(subscriber, NOBODY)
                found.append(
                    Record(month=month, currency=currency, mrr=mrr, plan=account.plan, **moved)
                )
                before, highest = mrr, max(highest, mrr)
        return found

    # --- The state of the loads

    @cached_property
    def loads(self) -> list[Record]:
        found = []
        for loads in grouped(
            self._loads, lambda one: (one.dataset, one.source, one.stream)
        ).values():
            changes: list[int] = []
            for load in sorted(loads, key=lambda one: one.ended_at):
                rows = load.rows_inserted + load.rows_updated + load.rows_deleted
                # The first load of a stream brings all that there is.
                usual = changes[max(1, len(changes) - COMPARED_LOADS) :]
                failed = load.error is not None
                found.append(
                    Record(
                        **vars(load) | {"source": load.dataset},
                        when=load.started_at,
                        rows=rows,
                        least=min(usual, default=None) if not failed else None,
                        most=max(usual, default=None) if not failed else None,
                        outcome="failed" if failed else "changed" if rows else "unchanged",
                        is_unusual=not failed
                        and len(usual) >= KNOWN_LOADS
                        and (rows * 2 < min(usual) or rows > max(usual) * 2),
                        is_latest=load is max(loads, key=lambda one: one.ended_at),
                    )
                )
                if not failed:
                    changes.append(rows)
        return found

    @cached_property
    def never_loaded(self) -> list[Record]:
        loaded = {one.source for one in self.sources}
        return [
            Record(
                source=tool.lower(),
                said=f"{tool} is not connected yet: run {tool.lower()}-daily",
            )
            for tool in ("Close", "Intercom", "Stripe")
            if tool.lower() not in loaded
        ]

    @cached_property
    def sources(self) -> list[Record]:
        midnight = datetime.combine(self.today - timedelta(days=30), datetime.min.time(), UTC)
        found = []
        for source, loads in grouped(self.loads, lambda one: one.source).items():
            ends = {
                id_: (max(one.ended_at for one in run), sum(one.outcome == "failed" for one in run))
                for id_, run in grouped(loads, lambda one: one.load_id).items()
            }
            recent = [one for one in loads if one.ended_at >= midnight]
            _, failed = max(ends.values())
            found.append(
                Record(
                    source=source,
                    is_failing=failed > 0,
                    failed=failed,
                    succeeded=max((end for end, n in ends.values() if not n), default=None),
                    loaded=max(end for end, _ in ends.values()),
                    streams=len({one.stream for one in loads}),
                    loads=len({one.load_id for one in recent}),
                    rows=sum(one.rows for one in recent),
                    usd=round(sum(one.bytes_billed or 0 for one in recent) * USD_A_BYTE, 2),
                )
            )
        return found

    @cached_property
    def nodes(self) -> list[Record]:
        """What dbt has built and tested."""
        latest = {
            id_: max(nodes, key=lambda one: one.ended_at)
            for id_, nodes in grouped(self._nodes, lambda one: one.node_id).items()
        }
        return [
            Record(
                **vars(one),
                when=one.ended_at,
                usd=(one.bytes_billed or 0) * USD_A_BYTE,
                has_failed=one.status in ("error", "fail"),
                is_latest=one is latest[one.node_id],
            )
            for one in self._nodes
        ]


# --- Values


def plain_key(name: str, value: Any) -> Any:
    """A key as text, as every tool writes it."""
    return str(value) if value is not None and (name == "id" or name.endswith("_id")) else value


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def hours(begin: datetime, end: datetime) -> float:
    """By whole minutes."""
    return ((end - begin) // timedelta(minutes=1)) / 60


def earliest(times: Iterable[Any]) -> Any:
    return min((time for time in times if time is not None), default=None)


def is_open(incident: Record) -> bool:
    return incident.status not in ("closed", "declined")


class _Text(HTMLParser):
    """The text of HTML, a line for each paragraph."""

    text = ""

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        self.text += "\n" if tag in ("p", "div", "li") else ""

    def handle_startendtag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.text += "\n" if tag == "br" else ""

    handle_starttag = handle_startendtag


def text_of(markup: str) -> str | None:
    parser = _Text()
    parser.feed(markup)
    parser.close()
    # A space that doesn't break is a space to who looks for the text.
    return parser.text.replace("\xa0", " ").strip(" \n") or None


def grouped[Key](
    records: Iterable[Record], key: Callable[[Record], Key]
) -> defaultdict[Key, list[Record]]:
    found = defaultdict(list)
    for record in records:
        found[key(record)].append(record)
    return found


# --- The vocabulary of answers

type Fits = Callable[[Record], Any]
type Measure = Callable[[Sequence[Record]], Any]


def everything(_: Record) -> bool:
    return True


@dataclass(frozen=True)
class Last:
    """The last days or months with the current one."""

    number: int
    unit: str
    of: str

    def holds(self, record: Record, today: date) -> bool:
        at = getattr(record, self.of)
        if at is None:
            return False
        at = at.date() if isinstance(at, datetime) else at
        passed = {
            "days": (today - at).days,
            "months": (today.year - at.year) * 12 + today.month - at.month,
        }
        return 0 <= passed[self.unit] <= self.number


@dataclass(frozen=True)
class Answer:
    """Which records count, and what is shown of them."""

    of: str
    """The records, by their name in `Company`."""
    where: Fits = everything
    last: Last | None = None
    by: Sequence[str | Fits] = ()
    """What they are grouped by."""
    show: Sequence[str | Measure] = ()
    """Measures of each group; or columns, of which each record is a row."""
    largest: int | None = None
    """So many groups; of those with the same number, any."""

    @property
    def is_list(self) -> bool:
        return isinstance(self.show[0], str)

    def records(self, company: Company, kept: Fits = everything) -> list[Record]:
        """The records that count, and that filters keep."""
        return [
            record
            for record in getattr(company, self.of)
            if (self.last is None or self.last.holds(record, company.today))
            and self.where(record)
            and kept(record)
        ]

    def groups(
        self, company: Company, kept: Fits = everything
    ) -> dict[tuple[Any, ...], list[Record]]:
        """The same by group; without groups, all, also if there are none."""
        found: dict[tuple[Any, ...], list[Record]] = {} if self.by else {(): []}
        for record in self.records(company, kept):
            key = tuple(value(record, one) for one in self.by)
            found.setdefault(key, []).append(record)
        return found

    def rows(self, company: Company, kept: Fits = everything) -> list[tuple[Any, ...]]:
        """What the question has to show, in any order; all groups, also beyond the largest."""
        if self.is_list:
            return [
                tuple(value(record, column) for column in self.show)
                for record in self.records(company, kept)
            ]
        return [
            (*key, *(measure(records) for measure in self.show if callable(measure)))
            for key, records in self.groups(company, kept).items()
        ]


def value(record: Record, key: Any) -> Any:
    return getattr(record, key) if isinstance(key, str) else key(record)


def days(number: int, of: str) -> Last:
    return Last(number, "days", of)


def last_months(number: int, of: str) -> Last:
    return Last(number, "months", of)


def day(of: str) -> Fits:
    return lambda record: getattr(record, of).date()


def month(of: str) -> Fits:
    def first_day(record: Record) -> date:
        at = getattr(record, of)
        return date(at.year, at.month, 1)

    return first_day


def values(records: Iterable[Record], of: str) -> list[Any]:
    return [found for record in records if (found := getattr(record, of)) is not None]


def count(records: Sequence[Record]) -> int:
    return len(records)


def total(of: str) -> Measure:
    return lambda records: sum(found) if (found := values(records, of)) else None


def average(of: str) -> Measure:
    return lambda records: fmean(found) if (found := values(records, of)) else None


def least(of: str) -> Measure:
    return lambda records: min(values(records, of), default=None)


def most(of: str) -> Measure:
    return lambda records: max(values(records, of), default=None)


def share(which: Fits) -> Measure:
    return lambda records: sum(map(which, records)) / len(records) if records else None


# --- Which records count


def alive(one: Record) -> bool:
    return not one.archived_at


def in_setup(one: Record) -> bool:
    return not one.archived_at and not one.setup_completed_at


def late(one: Record) -> bool:
    return bool(one.is_in_arrears)


def late_and_asking(one: Record) -> bool:
    return bool(one.is_in_arrears and one.conversations)


def unfinished(one: Record) -> bool:
    return bool(one.is_open)


def waiting(one: Record) -> bool:
    return bool(one.is_waiting)


def asked(one: Record) -> bool:
    return bool(one.asked)


def won(one: Record) -> bool:
    return bool(one.outcome == "won")


def active(one: Record) -> bool:
    return bool(one.outcome == "active")


def failed_last(one: Record) -> bool:
    return bool(one.is_latest and one.has_failed)


def connected(tool: str) -> Answer:
    """An answer only if the tool was never loaded."""
    return Answer("never_loaded", lambda one: one.source == tool.lower(), show=["said"])


ANSWERS = {
    # Company overview
    "Organisations": Answer("organisations", alive, show=[count]),
    "Users seen in the last 30 days": Answer(
        "users", alive, days(30, "last_seen_at"), show=[count]
    ),
    "Paying organisations": Answer(
        "organisations", lambda one: alive(one) and one.is_paying, show=[count]
    ),
    "MRR today": Answer(
        "revenue", last=last_months(0, "month"), by=["currency"], show=[total("mrr")]
    ),
    "MRR by month": Answer(
        "revenue", last=last_months(24, "month"), by=["month", "currency"], show=[total("mrr")]
    ),
    "MRR movements by month": Answer(
        "revenue",
        last=last_months(12, "month"),
        by=["month", "currency"],
        show=[total(movement) for movement in MOVEMENTS],
    ),
    "Organisations by plan": Answer("organisations", alive, by=["plan"], show=[count]),
    "Sign-ups by month": Answer(
        "organisations", last=last_months(24, "created_at"), by=[month("created_at")], show=[count]
    ),
    "Open incidents": Answer("incidents", unfinished, show=[count]),
    "Open incidents by severity": Answer("incidents", unfinished, by=["severity"], show=[count]),
    "Incidents by month and severity": Answer(
        "incidents",
        last=last_months(12, "created_at"),
        by=[month("created_at"), "severity"],
        show=[count],
    ),
    "Requests for help by month": Answer(
        "conversations", asked, last_months(12, "opened"), by=[month("opened")], show=[count]
    ),
    "Waiting for our reply": Answer("conversations", waiting, show=[count]),
    "List of organisations": Answer(
        "organisations",
        alive,
        show=[
            *("name", "plan", "currency", "mrr", "owner", "users", "incidents", "conversations"),
            "created_at",
        ],
    ),
    "List of open incidents": Answer(
        "incidents",
        unfinished,
        show=[
            *("reference", "name", "severity", "status", "affected_team", "people"),
            *("open_actions", "created_at", "organisation"),
        ],
    ),
    # Set-up funnel
    "How far organisations get": Answer("steps", by=["number", "step"], show=[count]),
    "Hours from sign-up to each step": Answer(
        "steps", lambda one: one.number > 1, by=["number", "step"], show=[average("hours")]
    ),
    "Steps that each month's sign-ups have taken": Answer(
        "steps", last=last_months(12, "signed_up"), by=[month("signed_up"), "step"], show=[count]
    ),
    "Organisations that reached a step": Answer(
        "steps",
        show=[
            *("organisation", "number", "step", "signed_up", "reached", "hours", "hours_of_step"),
        ],
    ),
    "Organisations still in set-up": Answer(
        "organisations",
        in_setup,
        show=["name", "created_at", "users", "has_slack", "owner", "contacted"],
    ),
    "Number still in set-up": Answer("organisations", in_setup, show=[count]),
    # Timeline items a month
    "Timeline items by month": Answer(
        "items", last=last_months(24, "when"), by=[month("when")], show=[count]
    ),
    "Timeline items by month and kind": Answer(
        "items", last=last_months(24, "when"), by=[month("when"), "kind"], show=[count]
    ),
    "Timeline items by month and plan": Answer(
        "items", last=last_months(24, "when"), by=[month("when"), "plan"], show=[count]
    ),
    "Timeline items in the last 30 days": Answer("items", last=days(30, "when"), show=[count]),
    "Who writes timelines": Answer("items", last=days(30, "when"), by=["author"], show=[count]),
    "Organisations with the most timeline items": Answer(
        "items", last=days(30, "when"), by=["organisation"], show=[count], largest=10
    ),
    "Latest timeline items": Answer(
        "items",
        last=days(30, "when"),
        show=["when", "organisation", "kind", "text", "reactions", "pinned"],
    ),
    # Who is in arrears and asking for help
    "In arrears and asking for help": Answer(
        "organisations",
        late_and_asking,
        show=[
            *("name", "plan", "currency", "amount_due", "conversations", "contacted", "owner"),
            *("open_incidents", "users"),
        ],
    ),
    "Number in arrears and asking for help": Answer("organisations", late_and_asking, show=[count]),
    "Number in arrears": Answer("organisations", late, show=[count]),
    "Amount due": Answer("organisations", late, by=["currency"], show=[total("amount_due")]),
    "In arrears by plan": Answer("organisations", late, by=["plan"], show=[count]),
    "Conversations of organisations in arrears": Answer(
        "conversations",
        late,
        days(30, "opened"),
        show=["name", "contact", "opened", "state", "body", "assignee", "is_waiting"],
    ),
    "List of organisations in arrears": Answer(
        "organisations",
        late,
        show=["name", "plan", "currency", "amount_due", "mrr", "owner", "contacted"],
    ),
    # Sales pipeline
    "Open deals": Answer("deals", active, show=[count]),
    "Expected value of open deals": Answer(
        "deals", active, by=["currency"], show=[total("expected")]
    ),
    "Deals won in the last 90 days": Answer("deals", won, days(90, "closed"), show=[count]),
    "Pipeline by stage": Answer(
        "deals", active, by=["status", "currency"], show=[total("worth"), total("expected")]
    ),
    "Value won by month": Answer(
        "deals",
        won,
        last_months(12, "closed"),
        by=[month("closed"), "currency"],
        show=[total("worth")],
    ),
    "Open deals by salesperson": Answer("deals", active, by=["owner"], show=[count]),
    "Share of deals won": Answer(
        "deals", last=last_months(12, "closed"), by=[month("closed")], show=[share(won)]
    ),
    "Days from first contact to a won deal": Answer(
        "deals", won, by=["owner"], show=[average("days")]
    ),
    "List of open deals": Answer(
        "deals",
        active,
        show=[
            *("lead", "status", "owner", "currency", "worth", "expected", "confidence"),
            *("opened", "plan"),
        ],
    ),
    # Support
    "Open conversations": Answer("conversations", unfinished, show=[count]),
    "Requests for help in the last 30 days": Answer(
        "conversations", asked, days(30, "opened"), show=[count]
    ),
    "Average rating in the last 90 days": Answer(
        "conversations",
        lambda one: one.rating is not None,
        days(90, "opened"),
        show=[average("rating")],
    ),
    "Minutes to first reply by month": Answer(
        "conversations",
        asked,
        last_months(12, "opened"),
        by=[month("opened")],
        show=[average("minutes")],
    ),
    "Open conversations by team": Answer("conversations", unfinished, by=["team"], show=[count]),
    "Open conversations by assignee": Answer(
        "conversations", unfinished, by=["assignee"], show=[count]
    ),
    "Organisations that ask for help most": Answer(
        "conversations",
        lambda one: asked(one) and one.name,
        days(90, "opened"),
        by=["name"],
        show=[count],
        largest=10,
    ),
    "List of conversations that wait for us": Answer(
        "conversations",
        waiting,
        show=[
            *("waiting", "contact", "name", "plan", "subject", "body", "team", "assignee"),
            "is_urgent",
        ],
    ),
    # Is the data fresh?
    "Sources": Answer(
        "sources",
        show=[
            *("source", "is_failing", "succeeded", "loaded", "streams", "failed", "loads"),
            *("rows", "usd"),
        ],
    ),
    "Sources that are failing": Answer("sources", lambda one: one.is_failing, show=[count]),
    "Oldest successful load": Answer("sources", show=[least("succeeded")]),
    "Tests and models that have failed": Answer("nodes", failed_last, show=[count]),
    "Cost of the last 30 days": Answer("nodes", last=days(30, "when"), show=[total("usd")]),
    "Rows changed by day and source": Answer(
        "loads", last=days(30, "when"), by=[day("when"), "source"], show=[total("rows")]
    ),
    "Loads by day and outcome": Answer(
        "loads", last=days(30, "when"), by=[day("when"), "outcome"], show=[count]
    ),
    "Tables that have failed": Answer(
        "loads",
        lambda one: one.is_latest and one.outcome == "failed",
        show=["source", "stream", "table", "error", "when"],
    ),
    "Tables that brought unusually little or much": Answer(
        "loads",
        lambda one: one.is_latest and one.is_unusual,
        show=["source", "stream", "rows", "least", "most", "when"],
    ),
    "Models that take longest": Answer(
        "nodes",
        lambda one: one.is_latest and one.resource_type == "model",
        by=["name"],
        show=[most("duration_seconds")],
        largest=10,
    ),
    "List of failed tests and models": Answer(
        "nodes",
        failed_last,
        show=["name", "resource_type", "status", "message", "failures", "when"],
    ),
    **{f"Is {tool} connected?": connected(tool) for tool in ("Close", "Intercom", "Stripe")},
}
"""What each question has to show."""
