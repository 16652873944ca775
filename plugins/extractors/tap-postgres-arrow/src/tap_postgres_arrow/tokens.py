"""Logins by a token instead of a password: Amazon RDS and Google Cloud SQL."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tap_postgres_arrow.errors import ConnectError

BY_PASSWORD = "password"  # noqa: S105
# An endpoint bears its region: <name>.<id>.<region>.rds.amazonaws.com, or in China
# <name>.<id>.rds.<region>.amazonaws.com.cn.
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_CommonTasks.Connect.html
RDS_REGION = re.compile(r"\.(?:([a-z0-9-]+)\.rds|rds\.([a-z0-9-]+))\.amazonaws\.com(?:\.cn)?\.?$")
CLOUD_SQL_SCOPE = "https://www.googleapis.com/auth/sqlservice.login"
# A service account's user is called like its address, without this.
# https://cloud.google.com/sql/docs/postgres/add-manage-iam-users
SERVICE_ACCOUNT_SUFFIX = ".gserviceaccount.com"


class Login(Protocol):
    """A way to log in by tokens.

    Attributes:
        refused: what to do where the server doesn't accept one.
    """

    refused: str

    def user_and_token(self, host: str, port: int, user: str) -> tuple[str, str]:
        """Return the name to log in by, and a token that is valid now.

        Args:
            host: the server, as its cloud knows it.
            port: its port.
            user: the setting.

        Raises:
            ConnectError: there is no token to be had.
        """
        ...


class RdsLogin:
    """IAM authentication of Amazon RDS and Aurora: a token is a signature, made here.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
    """

    refused = (
        "Grant `rds_iam` to `user`, let the IAM identity `rds-db:connect` as it, and name the "
        "database's own endpoint in `host`; this machine's clock has to be right"
    )

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Take the tap's settings; credentials are looked for when a token is needed."""
        self._region = settings.get("aws_region")
        self._client: Any = None

    def user_and_token(self, host: str, port: int, user: str) -> tuple[str, str]:
        """Return a new token: it lives for 15 minutes, and to make one costs nothing."""
        try:
            import botocore.exceptions
            import botocore.session
        except ImportError:
            raise _not_installed("rds_iam", "botocore", "rds") from None
        try:
            self._client = self._client or self._new_client(botocore.session.get_session(), host)
            return user, self._client.generate_db_auth_token(host, port, user)
        except botocore.exceptions.BotoCoreError as error:
            problem = f"AWS gives no credentials: {' '.join(str(error).split())}".rstrip(".")
            fix = (
                "Set `AWS_PROFILE` (after `aws sso login`), or `AWS_ACCESS_KEY_ID` and "
                "`AWS_SECRET_ACCESS_KEY`, or give this machine a role"
            )
            raise ConnectError(problem, fix) from None

    def _new_client(self, session: Any, host: str) -> Any:
        found = RDS_REGION.search(host)
        region = self._region or (found and (found[1] or found[2]))
        region = region or session.get_config_variable("region")
        if not region:
            problem = f"the AWS region of {host} isn't known"
            raise ConnectError(problem, "Set `aws_region`, or name the RDS endpoint in `host`")
        return session.create_client("rds", region_name=region)


class CloudSqlLogin:
    """IAM database authentication of Google Cloud SQL: a token is an OAuth 2.0 access token.

    https://cloud.google.com/sql/docs/postgres/iam-logins
    """

    refused = (
        "Add `user` to the instance as an IAM user, give it the role `Cloud SQL Instance User`, "
        "and turn the flag `cloudsql.iam_authentication` on; `user` has to be the account whose "
        "credentials are used"
    )

    def __init__(self, _: Mapping[str, Any]) -> None:
        """Take nothing; credentials are looked for when a token is needed."""
        self._credentials: Any = None

    def user_and_token(self, host: str, port: int, user: str) -> tuple[str, str]:  # noqa: ARG002
        """Return the current token, or a new one if it has expired or will in some minutes."""
        try:
            import google.auth
            from google.auth import exceptions
            from google.auth.transport.requests import Request
        except ImportError:
            raise _not_installed("cloud_sql_iam", "google-auth", "cloudsql") from None
        try:
            if not self._credentials:
                self._credentials, _ = google.auth.default(scopes=[CLOUD_SQL_SCOPE])
            if not self._credentials.valid:
                self._credentials.refresh(Request())
        except exceptions.GoogleAuthError as error:
            problem = f"Google gives no token: {error.args[0] if error.args else error}".rstrip(".")
            fix = (
                "Run `gcloud auth application-default login`, set "
                "`GOOGLE_APPLICATION_CREDENTIALS`, or give this machine a service account"
            )
            raise ConnectError(" ".join(problem.split()), fix) from None
        return user.removesuffix(SERVICE_ACCOUNT_SUFFIX), str(self._credentials.token)


LOGINS: Mapping[str, Callable[[Mapping[str, Any]], Login | None]] = {
    BY_PASSWORD: lambda _: None,
    "rds_iam": RdsLogin,
    "cloud_sql_iam": CloudSqlLogin,
}


def _not_installed(method: str, library: str, extra: str) -> ConnectError:
    return ConnectError(
        f"`auth_method: {method}` needs {library}, which isn't installed",
        f"Add the extra to the tap's `pip_url`: `tap-postgres-arrow[{extra}]`",
    )
