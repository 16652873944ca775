"""What holds in the product database on every day."""

from datetime import datetime

from sandbox.product.factory import STAGES
from sandbox.product.tables import TABLES, Rows


def check(rows: Rows, now: datetime) -> None:
    """Assert that rows refer to rows of the same organisation, and that times are in order."""
    organisations = {row.id: row for row in rows.organisations}
    users = {row.id: row for row in rows.users}
    incidents = {row.id: row for row in rows.incidents}
    participants = {(row.incident_id, row.user_id): row for row in rows.incident_participants}

    for table in TABLES:
        for row in rows.of(table):
            created_at = getattr(row, "created_at", None) or row.joined_at
            assert created_at <= row.updated_at <= now, row
            archived_at = getattr(row, "archived_at", None)
            assert archived_at is None or created_at <= archived_at <= row.updated_at, row
            if table.name != "organisations":
                assert organisations[row.organisation_id].created_at <= created_at, row

    for organisation in rows.organisations:
        assert (organisation.setup_completed_at or now) >= organisation.created_at

    for user in rows.users:
        assert user.last_seen_at is None or user.created_at <= user.last_seen_at <= now
        assert user.archived_at is None or not user.active

    for incident in rows.incidents:
        assert users[incident.creator_id].organisation_id == incident.organisation_id
        assert users[incident.creator_id].created_at <= incident.created_at
        assert (incident.id, incident.creator_id) in participants
        assert incident.lead_id is None or (incident.id, incident.lead_id) in participants
        assert (incident.severity is None) == (incident.status == "triage")
        assert incident.status in {*STAGES, "declined"}
        assert (incident.closed_at is not None) == (incident.status == "closed")
        assert (incident.resolved_at is not None) == (incident.status in {"monitoring", "closed"})
        if incident.closed_at and incident.resolved_at:
            assert incident.created_at <= incident.resolved_at <= incident.closed_at
            assert incident.closed_at <= incident.updated_at

    for organisation_id in organisations:
        references = [
            row.reference
            for row in sorted(rows.incidents, key=lambda row: row.created_at)
            if row.organisation_id == organisation_id
        ]
        # Deleted incidents leave gaps.
        assert references == sorted({*references})

    for participant in rows.incident_participants:
        incident = incidents[participant.incident_id]
        assert users[participant.user_id].organisation_id == incident.organisation_id
        assert participant.organisation_id == incident.organisation_id
        assert participant.joined_at >= incident.created_at

    for action in rows.actions:
        incident = incidents[action.incident_id]
        assert action.organisation_id == incident.organisation_id
        assert action.created_at >= incident.created_at
        assert (action.completed_at is not None) == (action.status == "completed")
        assert action.completed_at is None or action.created_at <= action.completed_at <= now

    for item in rows.timeline_items:
        incident = incidents[item.incident_id]
        assert item.organisation_id == incident.organisation_id
        assert incident.created_at <= item.occurred_at <= item.created_at

    for workflow in rows.workflows:
        assert (workflow.last_run_at is None) == (workflow.run_count == 0)
        assert workflow.failure_ratio is None or 0 <= workflow.failure_ratio <= 1
