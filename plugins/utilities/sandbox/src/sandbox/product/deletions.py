"""The rows that a day deletes for good: a few of every table."""

from typing import Any, LiteralString

from sandbox.product.tables import (
    ACTIONS,
    ANNOUNCEMENT_RULES,
    INCIDENTS,
    ORGANISATIONS,
    PARTICIPANTS,
    TIMELINE_ITEMS,
    USERS,
    WORKFLOWS,
    Table,
)

DELETED: tuple[tuple[Table[Any], float, LiteralString], ...] = (
    # Failed sign-ups are purged: never set up, and joined by nobody after a day.
    (
        ORGANISATIONS,
        0.05,
        """
        setup_completed_at is null and not exists (
            select from users
            where users.organisation_id = organisations.id
                and users.created_at > organisations.created_at + interval '1 day'
        )
        """,
    ),
    # So are rehearsals, except an organisation's latest incident: its number must not be reused.
    (
        INCIDENTS,
        0.02,
        """
        test and reference < (
            select max(later.reference)
            from incidents as later
            where later.organisation_id = incidents.organisation_id
        )
        """,
    ),
    # Users without any data are erased on request; creators and leads are participants.
    (
        USERS,
        0.005,
        """
        role <> 'owner' and id in (
            select id from users
            except select user_id from incident_participants
            except select assignee_id from actions
            except select user_id from timeline_items
        )
        """,
    ),
    # Creators and leads stay participants of their incidents.
    (
        PARTICIPANTS,
        0.001,
        """
        not exists (
            select from incidents where id = incident_id and user_id in (creator_id, lead_id)
        )
        """,
    ),
    (ACTIONS, 0.002, "true"),
    # People delete what they wrote.
    (TIMELINE_ITEMS, 0.001, "kind in ('message', 'note')"),
    (ANNOUNCEMENT_RULES, 0.004, "true"),
    (WORKFLOWS, 0.004, "true"),
)
"""Which rows are deleted for good, and what share of them a day; owners before what they own."""
OWNED_THROUGH = {"organisations": "organisation_id", "incidents": "incident_id"}
"""The column by which other tables' rows belong to a row of the table, and go with it."""
