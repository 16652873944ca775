with source as (

    select *
    from {{ source('product', 'workflows') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        organisation_id,

        ---------- text
        name,
        trigger,
        (
            select string_agg(json_value(step, '$.name'), ', ' order by position)
            from unnest(json_query_array(steps)) as step with offset as position
        ) as steps,

        ---------- numbers
        array_length(json_query_array(steps)) as step_count,
        run_count,
        failure_ratio,

        ---------- booleans
        enabled as is_enabled,

        ---------- timestamps
        last_run_at,
        created_at,
        updated_at

    from source

)

select *
from renamed
