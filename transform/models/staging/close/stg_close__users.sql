with source as (

    -- Close no longer lists those who have left. Leads and activities refer to them still.
    select *
    from {{ source('close', 'users') }}

),

renamed as (

    select
        ---------- ids
        id,

        ---------- text
        nullif(
            trim(concat(coalesce(first_name, ''), ' ', coalesce(last_name, ''))), ''
        ) as name,
        email,
        last_used_timezone as time_zone,

        ---------- timestamps
        date_created as created_at,
        date_updated as updated_at

    from source

)

select *
from renamed
