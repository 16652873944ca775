"""Events in the survey tool: users rate the product, and get an answer."""

from datetime import timedelta

from sandbox.product.tables import User
from sandbox.saas.day import Day, epoch
from sandbox.saas.documents import Body, Documents
from sandbox.saas.simple import iso

SURVEYS = (
    ("srv_nps", "How likely are you to recommend us?"),
    ("srv_setup", "How was your set-up?"),
)
RESPONSES_A_DAY, FOLLOW_UPS_A_DAY = 0.6, 0.3
RESPONSES_A_TICK, FOLLOW_UPS_A_TICK = 4, 2
COMMENTS = (
    "Saves us hours.",
    "Fine, but the mobile app is slow.",
    'We miss an export to "Excel".',
    "Bardzo dobre narzędzie!",
    "使いやすいです",
)
QUESTIONS = ("What do you use most?", "What is missing?")
ANSWERS = ("Timelines", "Workflows", "Reports", "Slack", None)
TAGS = ("pricing", "mobile", "support", "speed")


def pass_day(documents: Documents, day: Day) -> None:
    """Let a day pass."""
    if not documents.of("survey"):
        for id_, question in SURVEYS:
            at = day.stamp()
            documents.put("survey", {"id": id_, "question": question, "updated_at": iso(at)}, at)
    a_tick = day.now is not None
    users = [user for people in day.users.values() for user in people]
    count = RESPONSES_A_TICK if a_tick else day.about(RESPONSES_A_DAY)
    for user in day.rng.sample(users, min(count, len(users))):
        _respond(documents, day, user)
    waiting = [body for body in documents.of("response") if body["follow_up"] is None]
    for body in waiting[: FOLLOW_UPS_A_TICK if a_tick else day.about(FOLLOW_UPS_A_DAY)]:
        _follow_up(documents, day, body)


def _respond(documents: Documents, day: Day, user: User) -> None:
    rng, at = day.rng, day.stamp()
    id_, question = rng.choice(SURVEYS)
    body: Body = {
        "id": f"rsp_{len(documents.of('response')) + 1:06}",
        "survey": {"id": id_, "question": question},
        "respondent": {
            "id": str(user.id),
            "organisation_id": str(user.organisation_id),
            "name": user.name,
            "email": user.email,
        },
        "score": min(max(round(rng.gauss(8, 2)), 0), 10),
        "comment": rng.choice((None, None, *COMMENTS)),
        "answers": [{"question": asked, "answer": rng.choice(ANSWERS)} for asked in QUESTIONS],
        "tags": rng.sample(TAGS, rng.randrange(3)),
        "may_be_quoted": rng.random() < 0.3,
        "invited_at": epoch(at - timedelta(hours=rng.uniform(1, 72))),
        "submitted_at": iso(at),
        "updated_at": iso(at),
        "follow_up": None,
    }
    documents.put("response", body, at)


def _follow_up(documents: Documents, day: Day, body: Body) -> None:
    at = day.stamp(after=documents.changed_at("response", body["id"]))
    body["follow_up"] = {"by": "success@example.com", "at": iso(at)}
    body["updated_at"] = iso(at)
    documents.put("response", body, at)
