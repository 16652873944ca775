"""A tick: one day passes, and about 1 % of the rows are inserted, updated or deleted.

The world's seed, the tick's number and the existing rows determine a tick. It inserts, updates and
deletes rows of every table. Every row that it writes has an `updated_at` within the new day, later
than all earlier ones.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection, sql
from psycopg.types.string import TextLoader

from sandbox.product import words
from sandbox.product.calendar import between, end_of, rhythm, working_moment
from sandbox.product.database import Clock, insert, running_clock
from sandbox.product.deletions import DELETED, OWNED_THROUGH
from sandbox.product.factory import (
    SEVERITY_SHARES,
    STAGES,
    as_signed_up,
    contract_value,
    cost,
    make_announcement_rule,
    make_incident,
    make_organisation,
    make_participant,
    make_timeline_item,
    make_user,
    make_workflow,
    organisation_settings,
    slack_id,
    some,
    to_json,
    user_preferences,
    weighted,
)
from sandbox.product.tables import (
    ACTIONS,
    ANNOUNCEMENT_RULES,
    INCIDENTS,
    ORGANISATIONS,
    PARTICIPANTS,
    TABLES,
    TIMELINE_ITEMS,
    USERS,
    WORKFLOWS,
    Incident,
    Rows,
    Table,
)
from sandbox.product.world import PEOPLE_AT_LEAST, ROLE_SHARES


@dataclass
class Changes:
    """How many rows of a table a tick inserted, updated and deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


def tick(connection: Connection[Any]) -> tuple[Clock, dict[str, Changes]]:
    """Let a day pass, in the connection's transaction.

    Returns:
        The new clock, and each table's changes.

    Raises:
        SandboxError: There is no world yet.
    """
    clock = running_clock(connection)
    clock = replace(clock, today=clock.today + timedelta(days=1), ticks=clock.ticks + 1)
    changes = _Day(connection, clock).pass_by()
    connection.execute(
        "update sandbox.clock set today = %s, ticks = %s", (clock.today, clock.ticks)
    )
    return clock, changes


class _Day:
    def __init__(self, connection: Connection[Any], clock: Clock) -> None:
        self.connection = connection
        # jsonb stays text, so that rows are written as they were read.
        connection.adapters.register_loader("jsonb", TextLoader)
        self.today = clock.today
        self.now = end_of(clock.today)
        self.name = f"{clock.seed}/{clock.ticks}"
        self.rng = Random(self.name)
        self.new = Rows()
        self.changes = {table.name: Changes() for table in TABLES}

    def pass_by(self) -> dict[str, Changes]:
        """Delete rows, then update older rows, then insert new rows."""
        left = self._delete()
        self._update_organisations()
        self._update_users()
        self._update_incidents()
        self._update_participants()
        self._update_actions()
        self._update_timeline_items()
        self._update_announcement_rules()
        self._update_workflows()
        self._go_on_with_open_incidents(left)
        self._add_organisations_and_users()
        self._add_incidents()
        self._add_rules_and_workflows()
        insert(self.connection, self.new)
        for table in TABLES:
            self.changes[table.name].inserted = len(self.new.of(table))
        return self.changes

    def _delete(self) -> set[tuple[UUID, UUID]]:
        """Delete rows for good; returns the participants (incident, user) that left."""
        left: set[tuple[UUID, UUID]] = set()
        for table, share, condition in DELETED:
            rows = self._sample(table, share, condition)
            keys = [tuple(getattr(row, column) for column in table.key) for row in rows]
            if table.name in OWNED_THROUGH:
                self._delete_owned(OWNED_THROUGH[table.name], keys)
            self._delete_where(table, table.key, keys)
            if table is PARTICIPANTS:
                left = {(incident_id, user_id) for incident_id, user_id in keys}
        return left

    def _delete_owned(self, column: str, keys: list[tuple[Any, ...]]) -> None:
        """Delete the rows that belong to these keys, referring tables first."""
        for table in reversed(TABLES):
            if column in table.columns:
                self._delete_where(table, (column,), keys)

    def _delete_where(
        self, table: Table[Any], columns: Iterable[str], values: list[tuple[Any, ...]]
    ) -> None:
        """Delete the rows whose columns hold one of the values."""
        statement = sql.SQL("delete from {} where {}").format(
            sql.Identifier(table.name), _assignments(columns, " and ")
        )
        with self.connection.cursor() as cursor:
            cursor.executemany(statement, values)
            self.changes[table.name].deleted += cursor.rowcount

    def _update_organisations(self) -> None:
        set_up = []
        for row in self._sample(ORGANISATIONS, 0.1, "setup_completed_at is null"):
            moment = self._moment()
            slack_team_id = row.slack_team_id or slack_id(self.rng, "T0")
            set_up.append(
                row._replace(
                    setup_completed_at=moment, slack_team_id=slack_team_id, updated_at=moment
                )
            )
        in_use = "setup_completed_at is not null and archived_at is null"
        changed = []
        for row in self._sample(ORGANISATIONS, 0.01, in_use):
            row = row._replace(updated_at=self._moment())
            chance = self.rng.random()
            # The oldest organisations never leave, because incidents need an organisation.
            if chance < 0.1 and self._number("organisations", in_use) > 5:
                row = row._replace(archived_at=row.updated_at)
            elif chance < 0.6:
                row = row._replace(annual_contract_value=contract_value(self.rng))
            else:
                row = row._replace(
                    tags=some(self.rng, words.TAGS, at_most=4),
                    settings=organisation_settings(self.rng),
                )
            changed.append(row)
        self._write(ORGANISATIONS, [*set_up, *changed])

    def _update_users(self) -> None:
        changed = []
        for row in self._sample(USERS, 0.01, "active"):
            moment = self._moment()
            if row.role != "owner" and self.rng.random() < 0.1:
                archived_at = moment if self.rng.random() < 0.5 else None
                row = row._replace(active=False, archived_at=archived_at)
            else:
                row = row._replace(last_seen_at=moment, preferences=user_preferences(self.rng))
            changed.append(row._replace(updated_at=moment))
        self._write(USERS, changed)

    def _update_incidents(self) -> None:
        """Edit some incidents that are over. Open ones are updated by another function."""
        changed = []
        for row in self._sample(INCIDENTS, 0.002, "status in ('closed', 'declined')"):
            moment = self._moment()
            changed.append(
                row._replace(
                    summary=self.rng.choice(words.SUMMARIES),
                    labels=some(self.rng, words.LABELS, at_most=4),
                    estimated_cost=cost(self.rng) if row.status == "closed" else None,
                    archived_at=row.archived_at or (moment if self.rng.random() < 0.1 else None),
                    updated_at=moment,
                )
            )
        self._write(INCIDENTS, changed)

    def _update_participants(self) -> None:
        changed = []
        for row in self._sample(PARTICIPANTS, 0.003):
            message_count = row.message_count + self.rng.randrange(1, 9)
            changed.append(row._replace(message_count=message_count, updated_at=self._moment()))
        self._write(PARTICIPANTS, changed)

    def _update_actions(self) -> None:
        changed = []
        for row in self._sample(ACTIONS, 0.03, "status = 'outstanding'"):
            moment = self._moment()
            done = self.rng.random() < 0.85
            changed.append(
                row._replace(
                    status="completed" if done else "not_doing",
                    completed_at=moment if done else None,
                    updated_at=moment,
                )
            )
        reopened = [
            row._replace(status="outstanding", completed_at=None, updated_at=self._moment())
            for row in self._sample(ACTIONS, 0.001, "status <> 'outstanding'")
        ]
        self._write(ACTIONS, [*changed, *reopened])

    def _update_timeline_items(self) -> None:
        changed = []
        for row in self._sample(TIMELINE_ITEMS, 0.003):
            content = json.loads(row.content) | {"text": self.rng.choice(words.MESSAGES)}
            changed.append(
                row._replace(
                    content=to_json(content),
                    pinned=row.pinned or self.rng.random() < 0.2,
                    updated_at=self._moment(),
                )
            )
        self._write(TIMELINE_ITEMS, changed)

    def _update_announcement_rules(self) -> None:
        changed = []
        for row in self._sample(ANNOUNCEMENT_RULES, 0.01):
            channels = [*row.slack_channel_ids[-3:], slack_id(self.rng, "C0")]
            changed.append(row._replace(slack_channel_ids=channels, updated_at=self._moment()))
        self._write(ANNOUNCEMENT_RULES, changed)

    def _update_workflows(self) -> None:
        changed = []
        for row in self._sample(WORKFLOWS, 0.03):
            moment = self._moment()
            changed.append(
                row._replace(
                    enabled=row.enabled != (self.rng.random() < 0.05),
                    run_count=row.run_count + self.rng.randrange(1, 50),
                    failure_ratio=self.rng.random(),
                    last_run_at=moment,
                    updated_at=moment,
                )
            )
        self._write(WORKFLOWS, changed)

    def _go_on_with_open_incidents(self, left: set[tuple[UUID, UUID]]) -> None:
        """Advance open incidents, with timeline items, actions and participants who never left."""
        open_ = self._rows(INCIDENTS, sql.SQL("status not in ('closed', 'declined') order by id"))
        moved = []
        for incident in open_:
            people, others = self._people(incident)
            channel = slack_id(self.rng, "C0")
            kinds: list[str | None] = [None] * self.rng.randrange(3)
            if self.rng.random() < 0.6 * rhythm(self.today):
                incident = self._moved_on(incident, people)
                moved.append(incident)
                kinds.append("status_change")
            for kind in kinds:
                self.new.timeline_items.append(
                    make_timeline_item(
                        self.rng, incident, people, self._moment(), self.now, channel, kind
                    )
                )
            newcomers = [user_id for user_id in others if (incident.id, user_id) not in left]
            if newcomers and self.rng.random() < 0.3:
                self.new.incident_participants.append(
                    make_participant(
                        self.rng, incident, self.rng.choice(newcomers), self._moment(), self.now
                    )
                )
        self._write(INCIDENTS, moved)

    def _moved_on(self, incident: Incident, people: list[UUID]) -> Incident:
        moment = self._moment()
        if incident.status == "triage":
            declined = self.rng.random() < 0.2
            return incident._replace(
                status="declined" if declined else "investigating",
                severity=weighted(self.rng, SEVERITY_SHARES),
                lead_id=None if declined else self.rng.choice(people),
                updated_at=moment,
            )
        status = STAGES[STAGES.index(incident.status) + 1]
        return incident._replace(
            status=status,
            resolved_at=moment if status == "monitoring" else incident.resolved_at,
            closed_at=moment if status == "closed" else None,
            updated_at=moment,
        )

    def _people(self, incident: Incident) -> tuple[list[UUID], list[UUID]]:
        """Return the active users of the incident's organisation: participants, and others."""
        users = self.connection.execute(
            """
            select users.id, incident_participants.user_id is not null
            from users
            left join incident_participants
                on incident_participants.user_id = users.id
                and incident_participants.incident_id = %s
            where users.organisation_id = %s and (users.active or users.id = %s)
            order by users.id
            """,
            (incident.id, incident.organisation_id, incident.creator_id),
        ).fetchall()
        return [id_ for id_, takes_part in users if takes_part], [
            id_ for id_, takes_part in users if not takes_part
        ]

    def _add_organisations_and_users(self) -> None:
        for sign_up in range(1 + self._about(max(0.004 * self._number("organisations"), 0.4))):
            created_at = self._moment()
            organisation = make_organisation(self.rng, created_at, self.now, established=False)
            if sign_up == 0:
                # Each day one sign-up is abandoned, so that there is always one to purge.
                organisation = as_signed_up(organisation)
            self.new.organisations.append(organisation)
            for number in range(PEOPLE_AT_LEAST):
                role = weighted(self.rng, ROLE_SHARES) if number else "owner"
                joined_at = between(self.rng, created_at, self.now) if number else created_at
                self.new.users.append(make_user(self.rng, organisation, joined_at, self.now, role))
        growing = self._rows(ORGANISATIONS, sql.SQL("archived_at is null order by id"))
        for _ in range(max(1, self._about(0.003 * self._number("users")))):
            organisation = self.rng.choice(growing)
            role = weighted(self.rng, ROLE_SHARES)
            self.new.users.append(make_user(self.rng, organisation, self._moment(), self.now, role))

    def _add_incidents(self) -> None:
        organisations = self.connection.execute(
            """
            select
                organisations.id,
                array_agg(users.id order by users.id),
                (select max(reference) from incidents where organisation_id = organisations.id)
            from organisations
            inner join users on users.organisation_id = organisations.id and users.active
            where organisations.setup_completed_at < %s and organisations.archived_at is null
            group by organisations.id
            order by organisations.id
            """,
            (self.now - timedelta(days=1),),
        ).fetchall()
        users = {id_: user_ids for id_, user_ids, _ in organisations}
        references = {id_: reference or 0 for id_, _, reference in organisations}
        moments = sorted(
            self._moment()
            for _ in range(1 + max(1, self._about(0.004 * self._number("incidents"))))
        )
        # More users have more incidents.
        weights = [len(user_ids) for user_ids in users.values()]
        chosen = self.rng.choices(list(users), weights, k=len(moments) - 1)
        # The day begins with a rehearsal of the organisation whose incident is next, so that there
        # is always one to purge.
        for number, (id_, created_at) in enumerate(zip([chosen[0], *chosen], moments, strict=True)):
            references[id_] += 1
            make_incident(
                self.rng,
                self.new,
                id_,
                references[id_],
                users[id_],
                created_at,
                self.now,
                participants=2 + int(self.rng.expovariate(1)),
                timeline_items=1 + int(self.rng.expovariate(1 / 4)),
                actions=1 + int(self.rng.expovariate(3)),
                rehearsal=number == 0,
            )

    def _add_rules_and_workflows(self) -> None:
        in_use = self._rows(
            ORGANISATIONS,
            sql.SQL("setup_completed_at is not null and archived_at is null order by id"),
        )
        for _ in range(max(1, self._about(0.005 * self._number("announcement_rules")))):
            organisation = self.rng.choice(in_use)
            self.new.announcement_rules.append(
                make_announcement_rule(self.rng, organisation.id, self._moment(), self.now)
            )
        for _ in range(max(1, self._about(0.005 * self._number("workflows")))):
            organisation = self.rng.choice(in_use)
            self.new.workflows.append(
                make_workflow(self.rng, organisation.id, self._moment(), self.now)
            )

    def _moment(self) -> datetime:
        return working_moment(self.rng, self.today)

    def _about(self, expected: float) -> int:
        """Return a random whole number that is `expected` on an average working day."""
        return int(expected * rhythm(self.today) + self.rng.random())

    def _number(self, table: LiteralString, condition: LiteralString = "true") -> int:
        statement = sql.SQL("select count(*) from {} where {}").format(
            sql.Identifier(table), sql.SQL(condition)
        )
        ((count,),) = self.connection.execute(statement).fetchall()
        return int(count)

    def _sample[Row: tuple[Any, ...]](
        self, table: Table[Row], share: float, condition: LiteralString = "true"
    ) -> list[Row]:
        """Return a share of the rows that meet the condition, at least one if there is any."""
        count = self._number(table.name, condition)
        return self._rows(
            table,
            sql.SQL("{} order by md5(concat({}, {})) limit {}").format(
                sql.SQL(condition),
                sql.SQL(", ").join(map(sql.Identifier, table.key)),
                self.name,
                max(1, round(count * share)),
            ),
        )

    def _rows[Row: tuple[Any, ...]](
        self, table: Table[Row], condition: sql.Composable
    ) -> list[Row]:
        statement = sql.SQL("select {} from {} where {}").format(
            sql.SQL(", ").join(map(sql.Identifier, table.columns)),
            sql.Identifier(table.name),
            condition,
        )
        return [table.row(values) for values in self.connection.execute(statement)]

    def _write(self, table: Table[Any], rows: list[Any]) -> None:
        """Write changed rows back."""
        statement = sql.SQL("update {} set {} where {}").format(
            sql.Identifier(table.name),
            _assignments(table.columns, ", "),
            _assignments(table.key, " and "),
        )
        with self.connection.cursor() as cursor:
            cursor.executemany(
                statement, [(*row, *(getattr(row, column) for column in table.key)) for row in rows]
            )
        self.changes[table.name].updated += len(rows)


def _assignments(columns: Iterable[str], separator: LiteralString) -> sql.Composed:
    return sql.SQL(separator).join(
        sql.SQL("{} = %s").format(sql.Identifier(column)) for column in columns
    )
