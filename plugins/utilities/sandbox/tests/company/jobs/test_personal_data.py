"""What should not be readable in BigQuery never gets there, and nothing breaks without it."""

import hashlib
import json

from ..stack import Stack
from ..world import World

# The example of extract/intercom.meltano.yml, into a dataset of its own.
STREAM_MAPS = {
    "contacts": {"email": "md5(email) if email else None", "name": None, "phone": None},
}


def test_email_addresses_are_hashed_and_names_dropped_on_the_way(stack: Stack) -> None:
    stack.meltano(
        *("run", "--state-id-suffix", "hashed", "tap-intercom", "target-bigquery"),
        TARGET_BIGQUERY_STREAM_MAPS=json.dumps(STREAM_MAPS),
        TARGET_BIGQUERY_DATASET="intercom_hashed",
    )
    contacts = World.read(stack.status["postgres"]["dsn"]).intercom.of("contact")
    emails = {contact["id"]: contact["email"] for contact in contacts}
    assert any(emails.values())

    raw = stack.query("select id, email from intercom_hashed.contacts")
    assert {row["id"]: row["email"] for row in raw} == {
        id_: email and hashlib.md5(email.encode()).hexdigest() for id_, email in emails.items()
    }
    columns = stack.query(
        "select column_name from intercom_hashed.INFORMATION_SCHEMA.COLUMNS "
        "where table_name = 'contacts'"
    )
    assert {"name", "phone"}.isdisjoint(row["column_name"] for row in columns)

    stack.meltano(
        *("invoke", "dbt-bigquery", "run", "--select", "stg_intercom__contacts"),
        *("--vars", "intercom_dataset: intercom_hashed"),
        **stack.elsewhere("dbt_hashed"),
    )
    staged = stack.query("select id, name, email from dbt_hashed.stg_intercom__contacts")
    assert {row["id"]: row["email"] for row in staged} == {row["id"]: row["email"] for row in raw}
    assert {row["name"] for row in staged} == {None}
