"""Alerts, as a local server gets them."""

import json
import socketserver
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, override

import pytest
from click.testing import CliRunner
from local_servers.emulator import PROJECT, Emulator
from local_servers.fixtures import emulator_of_the_session
from local_servers.loopback import HOST, free_port
from run_ledger import alerts
from run_ledger.ended import run_ended
from run_ledger.ops import Ops

__all__ = ["emulator_of_the_session"]

LOAD = "tap-shop → target-bigquery"
BUILD = "dbt-shop"


class Webhook(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any], str]] = []
        self.status = 200
        super().__init__((HOST, 0), Answer)

    @property
    def texts(self) -> list[str]:
        return [f"{body['title']}\n{body['message']}" for _, body, _ in self.got]


class Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Webhook = self.server  # type: ignore[assignment]
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((self.path, json.loads(raw), self.headers.get("Authorization") or ""))
        self.send_response(server.status)
        body = b'{"ok": true, "channel": "C0123456789"}' if "api" in self.path else b"ok"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with Webhook() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("ALERT_URLS", f"json://{HOST}:{server.server_port}/hook")
        yield server
        server.shutdown()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project with a promise of freshness, an owner, and a README."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".meltano").mkdir()
    staging = tmp_path / "transform" / "models" / "staging" / "shop"
    staging.mkdir(parents=True)
    (staging / "src_shop.yml").write_text(
        "sources: [{name: shop, tables: [{name: orders, config: {freshness: "
        "{warn_after: {count: 36, period: hour}}}}]}]"
    )
    target = tmp_path / "transform" / "target"
    target.mkdir()
    model = {"name": "fct_orders", "resource_type": "model", "config": {"group": "finance"}}
    test = {"name": "integrity_orders", "resource_type": "test", "attached_node": "model.orders"}
    manifest = {
        "nodes": {"model.orders": model, "test.orders": test},
        "groups": {"group.finance": {"name": "finance", "owner": {"email": "ada@acme.com"}}},
    }
    (target / "manifest.json").write_text(json.dumps(manifest))
    readme = "# Shop\n\n## What breaks, and how to fix it\n\n| `429` | wait |\n| `401` | a key |\n"
    (tmp_path / "README.md").write_text(readme)
    return tmp_path


@pytest.fixture
def settings(emulator: Emulator, request: pytest.FixtureRequest) -> dict[str, Any]:
    dataset = f"ops_{abs(hash(request.node.name))}"
    return {
        "project": PROJECT,
        "location": "US",
        "api_endpoint": emulator.endpoint,
        "anonymous": True,
        "ledger_dataset": dataset,
    }


def step(name: str, *lines: str, **others: Any) -> dict[str, Any]:
    return {
        "name": name,
        "plugins": name.split(" → "),
        "is_ok": not lines,
        "seconds": 1,
        "outcome": "",
        "tables": 0,
        "received": 0,
        "deleted": 0,
        "has_tested": False,
        "nodes": [],
        "unusual": [],
        "lines": list(lines),
    } | others


def run(settings: dict[str, Any], *steps: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {
        "run_id": "0199",
        "arguments": "shop-daily",
        "environment": "prod",
        "status": "success" if all(step["is_ok"] for step in steps) else "failure",
        "started_at": "2026-01-31T04:00:00+00:00",
        "ended_at": datetime.now(UTC).isoformat(),
        "log": ".meltano/logs/runs/x.log",
        "blocks": [{"extractor": "tap-shop", "loader": "target-bigquery", "dataset": "shop"}],
        "warehouse": settings,
        "steps": list(steps),
    } | others


def finish(run: dict[str, Any]) -> str:
    """End a run as `run-output` does; return what is said."""
    result = CliRunner().invoke(run_ended, input=json.dumps(run))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.usefixtures("project")
def test_an_incident_is_one_message_and_its_end_another(
    webhook: Webhook, settings: dict[str, Any]
) -> None:
    broken = run(settings, step(LOAD, "Reading orders", "429 Too Many Requests"))
    for _ in range(3):
        finish(broken)
    (text,) = webhook.texts
    assert text.startswith(f"[prod] shop-daily: {LOAD} failed\n")
    assert "  429 Too Many Requests" in text
    assert "All output: .meltano/logs/runs/x.log on " in text
    assert "What to do: README.md, line 5" in text
    for _ in range(2):
        finish(run(settings, step(LOAD)))
    _, recovered = webhook.texts
    assert recovered.startswith("[prod] Recovered: shop-daily\n")
    finish(broken)  # and a new one may begin
    assert len(webhook.got) == 3
    # The same step of another job is the same incident.
    finish(broken | {"arguments": "every-source"})
    assert len(webhook.got) == 3
    finish(run(settings, step(LOAD), arguments="every-source"))
    assert webhook.texts[3].startswith("[prod] Recovered: every-source\n")


@pytest.mark.usefixtures("project")
def test_tests_that_fail_are_named_with_the_owner_of_their_model(
    webhook: Webhook, settings: dict[str, Any]
) -> None:
    node = {
        "problem": "Failure",
        "type": "test",
        "name": "integrity_orders",
        "path": "models/o.yml",
    }
    unowned = node | {"name": "other"}
    finish(run(settings, step(LOAD), step(BUILD, "Got 3 results", nodes=[node, unowned])))
    (text,) = webhook.texts
    assert text.startswith("[prod] shop-daily: 2 failures\n")
    assert "test integrity_orders failed\n  Owner: ada@acme.com\n  In models/o.yml" in text
    assert "test other failed\n  Owner: none is named" in text
    # Another test that fails the next day is news; the first one is known.
    finish(run(settings, step(BUILD, "Got 1 result", nodes=[node, node | {"name": "third"}])))
    assert "third" in webhook.texts[1]
    assert "integrity_orders" not in webhook.texts[1]


@pytest.mark.usefixtures("project")
def test_a_source_that_is_late_and_a_stream_of_unusual_volume_are_said_once(
    webhook: Webhook, settings: dict[str, Any]
) -> None:
    old = (datetime.now(UTC) - timedelta(hours=37)).isoformat()
    finish(run(settings, step(LOAD), ended_at=old))
    row = (
        "source_id=shop, stream=orders, rows_changed=1, least_rows_changed=40, most_rows_changed=90"
    )
    other = {"arguments": "other-daily", "blocks": []}
    for _ in range(2):
        finish(run(settings, step(BUILD, has_tested=True, unusual=[row]), **other))
    late, volume = sorted(webhook.texts[-2:])
    assert len(webhook.got) == 2
    assert late.startswith("[prod] Source shop is late\n")
    assert "promised is every 36 hours" in late
    assert volume.startswith("[prod] Stream shop.orders has brought much less, or more")
    assert "1 rows changed in the last load; 40 to 90 in the loads before." in volume
    finish(run(settings, step(LOAD), step(BUILD, has_tested=True)))
    assert webhook.texts[2].startswith("[prod] Recovered")
    assert "Source shop is late" in webhook.texts[2]
    assert "Stream shop.orders" in webhook.texts[2]


def test_a_machine_that_has_never_run_anything_knows_what_was_sent(
    webhook: Webhook, settings: dict[str, Any], project: Path
) -> None:
    finish(run(settings, step(LOAD, "401")))
    for file in (project / ".meltano").iterdir():
        file.unlink()
    finish(run(settings, step(LOAD, "401")))
    assert len(webhook.got) == 1


@pytest.mark.usefixtures("project")
def test_where_the_warehouse_is_what_fails_alerts_go_out_all_the_same(
    webhook: Webhook, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = settings | {"api_endpoint": f"http://{HOST}:{free_port()}"}
    connection = Ops(nowhere).connection
    connection.retry_seconds = 0
    monkeypatch.setattr(Ops, "connection", connection)
    for _ in range(2):
        finish(run(nowhere, step(LOAD, "BigQuery did not answer")))
    assert len(webhook.got) == 1


@pytest.mark.usefixtures("project")
def test_no_secret_and_no_row_is_sent(
    webhook: Webhook,
    settings: dict[str, Any],
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "sk_live_51H")
    lines = (
        "401 for https://user:hunter22@shop.example.com with sk_live_51H",
        "Stream 'orders', column 'note': value 4242424242424242 does not fit INT64",
        "Could not parse 'Ada Lovelace' as DATE",
        "Key (email)=(ada@acme.com) already exists",
    )
    finish(run(settings, step(LOAD, *lines)))
    (text,) = webhook.texts
    for private in ("sk_live_51H", "hunter22", "Lovelace", "ada@acme.com", "4242424242424242"):
        assert private not in text
    assert "Stream 'orders', column 'note'" in text
    (row,) = emulator.client().list_rows(f"{PROJECT}.{settings['ledger_dataset']}.runs")
    assert "Lovelace" not in str(row)
    assert (row["status"], row["failed_step"], row["sources"]) == ("failure", LOAD, ["shop"])


@pytest.mark.usefixtures("project")
def test_an_alert_that_nobody_took_is_sent_by_the_next_run(
    webhook: Webhook, settings: dict[str, Any]
) -> None:
    webhook.status = 500
    finish(run(settings, step(LOAD, "401")))
    webhook.status = 200
    sent = len(webhook.got)
    finish(run(settings, step(LOAD, "401")))
    assert len(webhook.got) == sent + 1


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("other", ["nonsense://x", f"json://{HOST}:1/", "json://", "x"])
def test_a_destination_that_fails_takes_nothing_from_the_others(
    webhook: Webhook,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    other: str,
) -> None:
    monkeypatch.setenv("ALERT_URLS", f"{other} {alerts.destinations()[0]}")
    said = finish(run(settings, step(LOAD, "401")))
    assert "could not be sent to URL number 1 of ALERT_URLS" in said
    finish(run(settings, step(LOAD, "401")))
    assert len(webhook.got) == 1


@pytest.mark.usefixtures("project")
def test_a_recovery_that_nobody_took_is_said_by_the_next_run(
    webhook: Webhook, settings: dict[str, Any]
) -> None:
    finish(run(settings, step(LOAD, "401")))
    webhook.status = 500
    finish(run(settings, step(LOAD)))
    webhook.status = 200
    webhook.got.clear()
    for _ in range(2):
        finish(run(settings, step(LOAD)))
    (text,) = webhook.texts
    assert text.startswith("[prod] Recovered")


def test_what_is_known_of_incidents_may_be_damaged(
    webhook: Webhook, settings: dict[str, Any], project: Path
) -> None:
    Ops(settings).connection.insert(PROJECT, settings["ledger_dataset"], "incidents", "[1]")
    (project / ".meltano" / "incidents.json").write_text('{"incidents": {"a')
    for _ in range(2):
        finish(run(settings, step(LOAD, "401")))
    assert len(webhook.got) == 1


@pytest.mark.usefixtures("project")
def test_a_hundred_tests_that_fail_at_once_are_one_incident(
    webhook: Webhook, settings: dict[str, Any]
) -> None:
    """What is known of incidents has to fit into a table's description."""
    nodes = [
        {"problem": "Failure", "type": "test", "name": f"{'n' * 150}_{n}", "path": "m.yml"}
        for n in range(200)
    ]
    for _ in range(2):
        finish(run(settings, step(BUILD, "Got 1 result", nodes=nodes)))
    (text,) = webhook.texts
    assert text.startswith("[prod] shop-daily: 200 models and tests failed\n")
    assert "and 180 more" in text
    finish(run(settings, step(BUILD)))
    assert webhook.texts[1].startswith("[prod] Recovered")


def test_a_secret_is_hidden_a_line_at_a_time_and_in_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_PRIVATE_KEY", "-----BEGIN-----\\nb3BlbnNzaC1r\\nAAAAE2VjZHNh")
    monkeypatch.setenv("SHOP_PASSWORD", "p@ss/word?")
    said = alerts.masked("bad key AAAAE2VjZHNh; GET http://shop.test/?k=p%40ss%2Fword%3F")
    assert said == "bad key …; GET http://shop.test/?k=…"


def slack(server: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://{HOST}:{server.server_port}/services")
    monkeypatch.setattr(NotifySlack, "api_url", f"http://{HOST}:{server.server_port}/api/{{}}")


def test_a_test_message_reaches_slack_by_webhook_and_by_token(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    slack(webhook, monkeypatch)
    hook = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    token = "slack://xoxb-1234-1234-4ddbc191d40ee098cbaae6f3523ada2d/#data"
    monkeypatch.setenv("ALERT_URLS", f"{hook} {token}")
    said: list[str] = []
    alerts.send_test("prod", said.append)
    by_hook, by_token = [got for got in webhook.got if "TIiajk" in got[0] or "chat" in got[0]]
    assert "Test of alerts" in str(by_hook)
    assert "Test of alerts" in str(by_token)
    assert by_token[2].startswith("Bearer xoxb-")
    assert len(said) == 2
    assert "xoxb" not in str(said)


class Mailbox(socketserver.ThreadingTCPServer):
    """Takes mail as an SMTP server does."""

    allow_reuse_address = True

    def __init__(self) -> None:
        self.mail: list[str] = []
        super().__init__((HOST, 0), Postman)


class Postman(socketserver.StreamRequestHandler):
    @override
    def handle(self) -> None:
        server: Mailbox = self.server  # type: ignore[assignment]
        self.wfile.write(b"220 ready\r\n")
        while line := self.rfile.readline():
            if line.upper().startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                server.mail.append(text.decode())
            self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")


def test_a_test_message_reaches_a_mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    with Mailbox() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        url = f"mailto://{HOST}:{port}?from=stack@acme.com&to=data@acme.com"
        monkeypatch.setenv("ALERT_URLS", url)
        alerts.send_test("prod", print)
        server.shutdown()
    assert "Subject: Test of alerts" in server.mail[0]
    assert "data@acme.com" in server.mail[0]


def test_what_is_wrong_with_a_url_is_said_without_showing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALERT_URLS", "nonsense://hunter2")
    with pytest.raises(alerts.AlertError) as refused:
        alerts.send_test("prod", print)
    assert "ALERT_URLS: its URL number 1 isn't one that apprise knows" in str(refused.value)
    assert "hunter2" not in str(refused.value)
    monkeypatch.delenv("ALERT_URLS")
    with pytest.raises(alerts.AlertError, match="ALERT_URLS is not set"):
        alerts.send_test("prod", print)
    assert alerts.destinations() == []
