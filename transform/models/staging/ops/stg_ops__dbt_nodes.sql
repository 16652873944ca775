with source as (

    select *
    from {{ source('ops', 'dbt_nodes') }}

),

renamed as (

    select
        ---------- ids
        {{ surrogate_key(['invocation_id', 'node_id']) }} as id,
        invocation_id as build_id,
        node_id,

        ---------- text
        name,
        resource_type,
        status,
        message,

        ---------- numbers
        duration_seconds,
        rows_affected,
        bytes_billed,
        failures as failed_rows,

        ---------- booleans
        status in ('error', 'fail') as has_failed,

        ---------- timestamps
        ended_at

    from source

)

select *
from renamed
