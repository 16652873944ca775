"""BigQuery as the loader's settings say it."""

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.oauth2 import service_account

from stack.project import Plugin


def connect(loader: Plugin) -> bigquery.Client:
    """Return a client with the loader's project, location, credentials and limit of bytes.

    Raises:
        google.auth.exceptions.DefaultCredentialsError: there are no credentials.
    """
    config = loader.config()
    if config.get("anonymous"):
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    elif path := config.get("credentials_path"):
        credentials = service_account.Credentials.from_service_account_file(path)  # type: ignore[no-untyped-call]
    else:
        credentials = None
    query_options = bigquery.QueryJobConfig()
    if limit := config.get("maximum_bytes_billed"):
        query_options.maximum_bytes_billed = limit
    return bigquery.Client(
        project=config["project"],
        location=config.get("location"),
        credentials=credentials,
        default_query_job_config=query_options,
        client_options=ClientOptions(api_endpoint=config.get("api_endpoint")),
    )
