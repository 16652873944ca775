with source as (

    select *
    from {{ source('product', 'timeline_items') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        organisation_id,
        incident_id,
        user_id,
        json_value(content, '$.channel') as slack_channel_id,

        ---------- text
        kind,
        json_value(content, '$.text') as text,

        ---------- numbers
        (
            -- As NUMERIC, because a sum that overflows INT64 fails the whole query.
            select
                safe_cast(
                    coalesce(
                        sum(cast(lax_int64(json_query(reaction, '$.count')) as numeric)), 0
                    ) as int64
                )
            from unnest(json_query_array(content, '$.reactions')) as reaction
        ) as reaction_count,

        ---------- booleans
        pinned as is_pinned,
        user_id is null as is_automatic,

        ---------- timestamps
        occurred_at,
        created_at,
        updated_at

    from source

)

select *
from renamed
