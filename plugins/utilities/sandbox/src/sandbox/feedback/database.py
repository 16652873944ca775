"""The rows of the second database: a few hundred, whatever the scale, and a few more every day."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from random import Random
from typing import Any
from uuid import UUID

from psycopg import Connection

from sandbox.product.calendar import working_moment
from sandbox.product.factory import uuid
from sandbox.product.tick import Changes

DATABASE = "feedback"
TABLES = ("boards", "ideas", "votes", "comments", "releases", "release_ideas")
BOARDS = ("Web app", "Mobile app", "Integrations", "Internal")
WISHES = ("Dark mode", "An export to CSV", "Fewer e-mails", "SSO for all", "Ein Zeitstrahl", "検索")
LABELS = ("customer", "sales", "quick win", "api")
STATUSES = ("new", "planned", "in_progress", "declined")
HISTORY = timedelta(days=365)
IDEAS, RELEASES = 150, 8


def load(connection: Connection[Any], today: date, seed: int, people: Sequence[UUID]) -> None:
    """Create the tables and fill them, in the connection's transaction.

    Args:
        connection: A connection to the empty database.
        today: The last day with events.
        seed: The seed of the random generator. The same seed gives the same rows.
        people: The product's users. Some of them have ideas.
    """
    connection.execute(files("sandbox.feedback").joinpath("schema.sql").read_bytes())
    rng = Random(f"{seed}/feedback")
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into boards values (%s, %s, %s)",
            [(number, name, name != "Internal") for number, name in enumerate(BOARDS, start=1)],
        )
    moments = sorted(
        working_moment(rng, today - timedelta(days=rng.randrange(HISTORY.days)))
        for _ in range(IDEAS)
    )
    for moment in moments:
        _add_idea(connection, rng, moment, people)
    for number in range(RELEASES):
        _release(connection, rng, today - HISTORY * (RELEASES - number) / (RELEASES + 1))


def tick(connection: Connection[Any], today: date, seed: int, people: Sequence[UUID]) -> Changes:
    """Let a day pass, in the connection's transaction, and count the changes of ideas."""
    rng = Random(f"{seed}/feedback/{today}")
    now = datetime.now(UTC)
    ids = [id_ for (id_,) in connection.execute("select id from ideas order by id").fetchall()]
    gone, *changed = rng.sample(ids, 4)
    connection.execute("delete from ideas where id = %s", [gone])
    for id_ in changed:
        connection.execute(
            "update ideas set status = %s, effort_days = %s, updated_at = %s where id = %s",
            [rng.choice(STATUSES), _days(rng), now, id_],
        )
    # Rows without a time of change.
    connection.execute(
        "update votes set weight = weight + 1 where idea_id = any(%s)",
        [rng.sample(sorted(set(ids) - {gone}), 5)],
    )
    connection.execute(
        "delete from comments where id in ("
        "select id from comments order by md5(id::text || %s) limit 2)",
        [str(today)],
    )
    added = 3
    for _ in range(added):
        _add_idea(connection, rng, now, people)
    if today.day % 14 == 0:
        _release(connection, rng, today)
    return Changes(inserted=added, updated=len(changed), deleted=1)


def _add_idea(
    connection: Connection[Any], rng: Random, at: datetime, people: Sequence[UUID]
) -> None:
    """Add an idea, with votes and comments."""
    details = {"source": rng.choice(("call", "chat")), "customer": {"seats": rng.randint(1, 99)}}
    planned = rng.random() < 0.2
    ((id_,),) = connection.execute(
        "insert into ideas (board_id, author_id, title, body, status, labels, details, "
        "effort_days, planned_for, created_at, updated_at) "
        "values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning id",
        (
            rng.randint(1, len(BOARDS)),
            rng.choice(people),
            rng.choice(WISHES),
            "It would save us an hour a week." if rng.random() < 0.5 else None,
            rng.choice(STATUSES),
            rng.sample(LABELS, rng.randrange(3)),
            json.dumps(details) if rng.random() < 0.7 else None,
            _days(rng) if rng.random() < 0.5 else None,
            at.date() + timedelta(days=60) if planned else None,
            *(at, at),
        ),
    ).fetchall()
    voters = rng.sample(people, min(rng.randrange(6), len(people)))
    comments = [rng.choice(people) for _ in range(rng.randrange(3))]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into votes values (%s, %s, %s, %s)",
            [(id_, voter, Decimal(rng.randint(2, 20)) / 2, at) for voter in voters],
        )
        cursor.executemany(
            "insert into comments values (%s, %s, %s, %s, %s, %s, %s)",
            [
                (uuid(rng), id_, author, "Us too.", rng.random() < 0.3, at, rng.choice((None, at)))
                for author in comments
            ],
        )


def _release(connection: Connection[Any], rng: Random, day: date) -> None:
    """Release up to three ideas that were in progress."""
    version = f"{day:%Y.%m.%d}"
    connection.execute(
        "insert into releases values (%s, %s, %s)",
        [version, rng.choice((None, "Bug fixes and improvements.")), day],
    )
    connection.execute(
        "with released as (update ideas set status = 'released' where id in ("
        "select id from ideas where status = 'in_progress' and created_at < %s order by id limit 3"
        ") returning id) insert into release_ideas select %s, id from released",
        [day, version],
    )


def _days(rng: Random) -> Decimal:
    return Decimal(rng.randint(1, 80)) / 4
