with source as (

    select *
    from {{ source('ops', 'loads') }}

),

renamed as (

    select
        ---------- ids
        {{ surrogate_key(['load_id', 'stream']) }} as id,
        load_id,
        run_id,
        dataset as source_id,

        ---------- text
        source as extractor,
        stream,
        `table` as table_name,
        array_to_string(schema_changes, '; ') as schema_changes,
        to_json_string(bookmark) as bookmark,
        error,
        host,
        loader_version,

        ---------- numbers
        rows_received,
        rows_inserted,
        rows_updated,
        rows_deleted,
        rows_inserted + rows_updated + rows_deleted as rows_changed,
        bytes_billed,
        timestamp_diff(ended_at, started_at, second) as duration_seconds,

        ---------- booleans
        error is not null as has_failed,
        is_proven_complete,

        ---------- timestamps
        started_at,
        ended_at

    from source

)

select *
from renamed
