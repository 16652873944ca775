with source as (

    select *
    from {{ source('close', 'users') }}
    where _sdc_deleted_at is null

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
