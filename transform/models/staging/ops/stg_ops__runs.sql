with source as (

    select *
    from {{ source('ops', 'runs') }}

),

renamed as (

    select
        ---------- ids
        id,
        run_id,

        ---------- text
        arguments,
        environment,
        status,
        failed_step,
        error,
        array_to_string(sources, ', ') as sources,
        log_file,
        host,

        ---------- numbers
        steps,
        tables,
        rows_received,
        rows_deleted,
        timestamp_diff(ended_at, started_at, second) as duration_seconds,

        ---------- booleans
        status != 'success' as has_failed,

        ---------- timestamps
        started_at,
        ended_at

    from source

)

select *
from renamed
