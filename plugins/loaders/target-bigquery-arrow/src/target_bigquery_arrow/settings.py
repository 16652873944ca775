"""The loader's settings, beside those of the SDK for `stream_maps` and flattening."""

from typing import Any

from singer_sdk import typing as th

from target_bigquery_arrow.drift import SchemaDrift

MEBIBYTE = 2**20

# Meltano can't hand on a decimal; a variable of the environment comes as text.
FRACTION = th.CustomType(
    {
        "type": ["number", "string"],
        "minimum": 0,
        "maximum": 1,
        "pattern": r"^(0|1|0?\.[0-9]+|1\.0+)$",
    }
)

SETTINGS: dict[str, Any] = th.PropertiesList(
    th.Property(
        "project",
        th.StringType(min_length=1),
        required=True,
        description="The Google Cloud project that owns the dataset and runs the jobs.",
    ),
    th.Property(
        "dataset",
        th.StringType(min_length=1),
        required=True,
        description="The dataset that tables are loaded into; created if it is missing.",
    ),
    th.Property(
        "developer",
        th.StringType,
        description=(
            "Whose own dataset to load into: `<developer>_<dataset>`, whatever `dataset` says, "
            "with `dbt_` left out of `dbt_lawrence`. Keeps development apart from production."
        ),
    ),
    th.Property(
        "location",
        th.StringType(min_length=1),
        default="US",
        description="The dataset's location, e.g. `EU` or `europe-west2`.",
    ),
    th.Property(
        "credentials_path",
        th.StringType(min_length=1),
        description=("A service account's key file. Without it, application default credentials."),
    ),
    th.Property(
        "api_endpoint",
        th.StringType(min_length=1),
        description="Another address of the BigQuery API, e.g. a local emulator's.",
    ),
    th.Property(
        "anonymous",
        th.BooleanType,
        default=False,
        description="Send no credentials. Only with `api_endpoint`, for an emulator.",
    ),
    th.Property(
        "schema_drift",
        th.StringType(allowed_values=[policy.value for policy in SchemaDrift]),
        default=SchemaDrift.EVOLVE.value,
        description=(
            "When a stream's columns differ from its table's: `evolve` the table, `freeze` it "
            "and leave new columns out, or `fail`."
        ),
    ),
    th.Property(
        "process_activate_version_messages",
        th.BooleanType,
        default=True,
        description="Mark, or remove, the rows that the source no longer has.",
    ),
    th.Property(
        "max_delete_fraction",
        FRACTION,
        default=0.5,
        description=(
            "How much of a table's live rows may go in one run; if more would, none does and the "
            "stream fails. An extractor that sends its own limit goes by that."
        ),
    ),
    th.Property(
        "version_follows_records",
        th.BooleanType,
        default=False,
        description=(
            "You vouch for the extractor: it sends a stream's ACTIVATE_VERSION only after its last "
            "record. No extractor of the Singer SDK does."
        ),
    ),
    th.Property(
        "hard_delete",
        th.BooleanType,
        default=False,
        description="Remove deleted rows instead of setting `_sdc_deleted_at`.",
    ),
    th.Property(
        "emit_interim_state",
        th.BooleanType,
        default=True,
        description=(
            "Emit STATE also in the middle of an extraction. Switch it off for a tap whose "
            "bookmarks can't be trusted before its end (`currently_syncing` is set until then)."
        ),
    ),
    th.Property(
        "drop_stream_prefixes",
        th.ArrayType(th.StringType),
        default=["public-"],
        description="Prefixes of stream names that are left out of table names.",
    ),
    th.Property(
        "batch_bytes",
        th.IntegerType(minimum=MEBIBYTE),
        default=64 * MEBIBYTE,
        description="Memory for records that are not on disk yet, for all streams together.",
    ),
    th.Property(
        "load_bytes",
        th.IntegerType(minimum=MEBIBYTE),
        default=512 * MEBIBYTE,
        description="Parquet on disk, for all streams together, before it is loaded.",
    ),
    th.Property(
        "batch_wait_limit_seconds",
        th.IntegerType(minimum=1),
        default=300,
        description="Load, and move the state, at least this often.",
    ),
    th.Property(
        "partition_bytes",
        th.IntegerType(minimum=0),
        default=256 * MEBIBYTE,
        description=(
            "A new table whose first load is at least this large is partitioned: by ranges of an "
            "integer in its key, else by a date of its key or of its rows' creation."
        ),
    ),
    th.Property(
        "repartition",
        th.BooleanType,
        default=False,
        description=(
            "Rebuild tables of at least `partition_bytes`, once, if their partitions are not "
            "what a first load would give them. Bills each of them twice."
        ),
    ),
    th.Property(
        "maximum_bytes_billed",
        th.IntegerType(minimum=1),
        description=(
            "A query that would bill more fails before it costs anything, unless its table is "
            "larger than half of that. Without it, BigQuery's own limits."
        ),
    ),
    th.Property(
        "retry_seconds",
        th.NumberType(minimum=0),
        default=300,
        description="How long to go on when BigQuery fails or can't be reached.",
    ),
    th.Property(
        "ledger_dataset",
        th.StringType(min_length=1),
        description=(
            "The dataset with the table `loads`, which gets a row for each table that a run has "
            "loaded. Under `developer`, that developer's own. Without it, nothing is recorded."
        ),
    ),
    th.Property(
        "lock_dataset",
        th.StringType(min_length=1),
        description=(
            "The dataset with the table `lock_<dataset>`, by which one run at a time loads into "
            "the dataset, on whatever machine. Under `developer`, that developer's own. Without "
            "it, runs of one machine are kept apart, table by table."
        ),
    ),
    th.Property(
        "source",
        th.StringType,
        description="The extractor's name, for the ledger. Without it, what Meltano says.",
    ),
    additional_properties=False,
).to_dict()
