"""No secret is in anything that a job writes, at its most talkative."""

from pathlib import Path

from ..stack import Stack
from .conftest import EverySource


def test_no_secret_is_in_any_log(stack: Stack, every_source: EverySource) -> None:
    secrets = every_source.secrets
    assert "[debug" in every_source.log
    assert [secret for secret in secrets if secret in every_source.log] == []

    directory = Path(stack.environment["SANDBOX_DIRECTORY"]).parent
    written = [*directory.rglob("*.log*"), *directory.rglob("*.jsonl")]
    written += (stack.root / ".meltano" / "logs").rglob("*")
    logs = [path for path in written if path.is_file()]
    assert {path.name for path in logs} >= {"dbt.log", "saas.log", "saas-requests.jsonl"}
    for path in logs:
        text = path.read_text(errors="replace")
        assert [path for secret in secrets if secret in text] == []
