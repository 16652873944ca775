with source as (

    select *
    from {{ source('product', 'announcement_rules') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        organisation_id,

        ---------- text
        name,
        nullif(array_to_string(slack_channel_ids, ', '), '') as slack_channel_ids,
        (
            select
                string_agg(
                    concat(
                        json_value(condition, '$.field'), ' ',
                        replace(json_value(condition, '$.operator'), '_', ' '), ' ',
                        array_to_string(json_value_array(condition, '$.values'), ', ')
                    ),
                    '; '
                    order by position
                )
            from unnest(json_query_array(conditions)) as condition with offset as position
        ) as conditions,

        ---------- numbers
        array_length(slack_channel_ids) as slack_channel_count,
        array_length(json_query_array(conditions)) as condition_count,

        ---------- booleans
        includes_private as has_private_incidents,
        quiet_from is not null as has_quiet_hours,

        ---------- times of day
        quiet_from,
        quiet_until,

        ---------- timestamps
        created_at,
        updated_at

    from source

)

select *
from renamed
