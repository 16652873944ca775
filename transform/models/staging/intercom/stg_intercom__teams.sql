with source as (

    select *
    from {{ source('intercom', 'teams') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,

        ---------- text
        name,

        ---------- numbers
        coalesce(array_length(admin_ids), 0) as admin_count

    from source

)

select *
from renamed
