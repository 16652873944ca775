with source as (

    select *
    from {{ source('ops', 'metabase_syncs') }}

),

renamed as (

    select
        ---------- ids
        id,
        run_id,

        ---------- text
        environment,
        status,
        message,

        ---------- numbers
        duration_seconds,

        ---------- booleans
        status != 'success' as has_failed,

        ---------- timestamps
        ended_at

    from source

)

select *
from renamed
