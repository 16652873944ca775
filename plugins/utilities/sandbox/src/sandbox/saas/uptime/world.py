"""Events in the monitoring tool: checks fail, and recover later."""

from datetime import timedelta

from sandbox.saas.day import Day, epoch
from sandbox.saas.documents import Body, Documents

CHECKS = ("Website", "Web app", "API", "Webhooks", "Status page", "Slack app")
REGIONS = ("eu-west", "us-east", "ap-south")
ENGINEERS = ("ada@example.com", "grace@example.com", "linus@example.com")
OUTAGES_A_DAY, OUTAGES_A_TICK = 0.5, 2
POST_MORTEMS_A_DAY, POST_MORTEMS_A_TICK = 0.2, 2
RESOLVED_AT_ONCE = 0.8


def pass_day(documents: Documents, day: Day) -> None:
    """Let a day pass: open outages are resolved, and new ones start."""
    if not documents.of("check"):
        _set_up(documents, day)
    for body in documents.of("outage"):
        if body["resolved_at"] is None:
            _resolve(documents, day, body)
    unexplained = [body for body in documents.of("outage") if body["post_mortem"] is None]
    count = POST_MORTEMS_A_TICK if day.now else day.about(POST_MORTEMS_A_DAY)
    for body in unexplained[:count]:
        _explain(documents, day, body)
    for _ in range(OUTAGES_A_TICK if day.now else day.about(OUTAGES_A_DAY)):
        _fail(documents, day)


def _set_up(documents: Documents, day: Day) -> None:
    for number, name in enumerate(CHECKS, start=1):
        at = day.stamp()
        body = {
            "id": number,
            "name": name,
            "url": f"https://{name.lower().replace(' ', '-')}.example.com/health",
            "interval_seconds": 60,
            "paused": number == len(CHECKS),
            "created_at": epoch(at),
            "updated_at": epoch(at),
        }
        documents.put("check", body, at)


def _fail(documents: Documents, day: Day) -> None:
    rng, at = day.rng, day.stamp()
    number = rng.randint(1, len(CHECKS) - 1)
    body: Body = {
        "id": 1001 + len(documents.of("outage")),
        "check": {"id": number, "name": CHECKS[number - 1]},
        "severity": rng.choice(("down", "degraded")),
        "regions": sorted(rng.sample(REGIONS, rng.randint(1, 3))),
        "response_seconds": round(rng.uniform(1, 30), 3) if rng.random() < 0.7 else None,
        "acknowledged_by": None,
        "updates": [{"status": "investigating", "at": epoch(at), "message": "We are looking."}],
        "post_mortem": None,
        "started_at": epoch(at),
        "resolved_at": None,
        "updated_at": epoch(at),
    }
    documents.put("outage", body, at)
    if rng.random() < RESOLVED_AT_ONCE:
        _resolve(documents, day, body)


def _resolve(documents: Documents, day: Day, body: Body) -> None:
    at = documents.changed_at("outage", str(body["id"])) + timedelta(minutes=day.rng.uniform(2, 90))
    if day.now:
        at = day.stamp()
    body["acknowledged_by"] = day.rng.choice(ENGINEERS)
    body["updates"].append({"status": "resolved", "at": epoch(at), "message": None})
    body["resolved_at"] = body["updated_at"] = epoch(at)
    documents.put("outage", body, at)


def _explain(documents: Documents, day: Day, body: Body) -> None:
    at = day.stamp(after=documents.changed_at("outage", str(body["id"])))
    body["post_mortem"] = f"https://wiki.example.com/post-mortems/{body['id']}"
    body["updated_at"] = epoch(at)
    documents.put("outage", body, at)
