"""Where Meltano keeps the state: in production, somewhere that outlives the machine."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import yaml

from stack.check.context import Context
from stack.check.pins import installed_versions
from stack.check.result import Result, failed, passed

DATABASE = "systemdb"
MEND = "Set MELTANO_STATE_BACKEND_URI=gs://<bucket>/state where jobs run."
LIBRARIES = {
    "gs": ("google-cloud-storage", "gcs"),
    "s3": ("boto3", "s3"),
    "azure": ("azure-storage-blob", "azure"),
}


def check(context: Context) -> Iterator[Result]:
    """Yield where the state is, and whether it is safe there."""
    backend = str(context.project.facts.get("state_backend") or DATABASE)
    scheme = urlsplit(backend).scheme
    needed, extra = LIBRARIES.get(scheme, (None, ""))
    if needed and needed not in installed_versions(context.root / ".venv"):
        mend = f"Write `meltano[{extra}]` for `meltano` in pyproject.toml, then `make lock setup`."
        yield failed("state", f"{backend} needs {needed}, which isn't installed", mend)
    elif backend != DATABASE and scheme != "file":
        yield passed("state", f"in {backend}")
    elif backend == DATABASE and _database_is_shared(context):
        yield passed("state", "in Meltano's database, on a server")
    elif context.environment == "prod":
        detail = "on this machine's disk: without it, the next run reads every source anew"
        yield failed("state", detail, MEND)
    else:
        yield passed("state", "on this machine, as is right here")


def _database_is_shared(context: Context) -> bool:
    written = yaml.safe_load((context.root / "meltano.yml").read_text())
    address = context.variables.get("MELTANO_DATABASE_URI") or written.get("database_uri") or ""
    return bool(address) and not str(address).startswith("sqlite")
