"""Events on GitHub: the company's engineers open and close issues and pull requests."""

from random import Random

from sandbox.saas.day import Day
from sandbox.saas.documents import Body, Documents
from sandbox.saas.simple import iso

ORGANISATION, REPOSITORY = "example", "app"
ENGINEERS = ("ada", "grace", "linus", "margaret")
LABELS = ("bug", "customer", "infrastructure", "documentation")
TITLES = (
    "Timeline loads slowly",
    "Add an export",
    "Fix flaky test",
    "Bump dependencies",
    "Łódź: wrong time zone",
)
BODIES = ("Seen by **two** customers.\n\n- [ ] find out why", "Closes nothing yet.", None)
OPENED_A_DAY, CLOSED_A_DAY = 0.6, 0.5
OPENED_A_TICK, CLOSED_A_TICK = 3, 2
API = f"https://api.github.com/repos/{ORGANISATION}/{REPOSITORY}"
SITE = f"https://github.com/{ORGANISATION}/{REPOSITORY}"


def pass_day(documents: Documents, day: Day) -> None:
    """Let a day pass."""
    a_tick = day.now is not None
    if not documents.of("repository"):
        at = day.stamp()
        documents.put("repository", _repository(iso(at)), at)
    still_open = [body for body in documents.of("issue") if body["state"] == "open"]
    for body in still_open[: CLOSED_A_TICK if a_tick else day.about(CLOSED_A_DAY)]:
        at = day.stamp(after=documents.changed_at("issue", str(body["id"])))
        body |= {"state": "closed", "state_reason": "completed", "closed_at": iso(at)}
        body["updated_at"] = iso(at)
        documents.put("issue", body, at)
    for _ in range(OPENED_A_TICK if a_tick else day.about(OPENED_A_DAY)):
        at = day.stamp()
        number = len(documents.of("issue")) + 1
        documents.put("issue", _issue(day.rng, number, iso(at)), at)


def _repository(at: str) -> Body:
    return {
        "id": 1,
        "node_id": "R_1",
        "name": REPOSITORY,
        "full_name": f"{ORGANISATION}/{REPOSITORY}",
        "owner": _user(ORGANISATION, 1, "Organization"),
        "private": True,
        "html_url": SITE,
        "description": None,
        "fork": False,
        "default_branch": "main",
        "topics": ["incidents"],
        "archived": False,
        "has_issues": True,
        "has_discussions": False,
        "visibility": "private",
        "created_at": at,
        "updated_at": at,
        "pushed_at": at,
    }


def _issue(rng: Random, number: int, at: str) -> Body:
    """Return an issue as the API lists it; every second one is a pull request."""
    kind = rng.choice(("issues", "pull"))
    assignees = [_engineer(login) for login in sorted(rng.sample(ENGINEERS, rng.randrange(3)))]
    body: Body = {
        "id": 9_000_000 + number,
        "node_id": f"I_{number}",
        "number": number,
        "url": f"{API}/issues/{number}",
        "html_url": f"{SITE}/{kind}/{number}",
        "title": rng.choice(TITLES),
        "body": rng.choice(BODIES),
        "user": _engineer(rng.choice(ENGINEERS)),
        "labels": [_label(name) for name in sorted(rng.sample(LABELS, rng.randrange(3)))],
        "state": "open",
        "state_reason": None,
        "locked": False,
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "milestone": None,
        "comments": rng.randrange(5),
        "author_association": "MEMBER",
        "created_at": at,
        "updated_at": at,
        "closed_at": None,
        "type": None,
        "reactions": {
            "url": f"{API}/issues/{number}/reactions",
            "total_count": 1,
            "+1": 1,
            "-1": 0,
        },
    }
    if kind == "pull":
        body["draft"] = rng.random() < 0.2
        body["pull_request"] = {
            "url": f"{API}/pulls/{number}",
            "html_url": body["html_url"],
            "diff_url": f"{body['html_url']}.diff",
            "patch_url": f"{body['html_url']}.patch",
        }
    return body


def _engineer(login: str) -> Body:
    return _user(login, 10 + ENGINEERS.index(login), "User")


def _user(login: str, id_: int, kind: str) -> Body:
    return {
        "login": login,
        "id": id_,
        "node_id": f"U_{id_}",
        "html_url": f"https://github.com/{login}",
        "type": kind,
        "site_admin": False,
    }


def _label(name: str) -> Body:
    number = 100 + LABELS.index(name)
    return {
        "id": number,
        "node_id": f"LA_{number}",
        "url": f"{API}/labels/{name}",
        "name": name,
        "description": None,
        "color": "d73a4a",
        "default": name == "bug",
    }
