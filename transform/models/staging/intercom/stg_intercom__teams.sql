with source as (

    select *
    from {{ source('intercom', 'teams') }}

),

renamed as (

    select
        ---------- ids
        id,

        ---------- text
        name,

        ---------- numbers
        coalesce(array_length(admin_ids), 0) as admin_count,

        ---------- booleans
        _sdc_deleted_at is not null as is_deleted

    from source

)

select *
from renamed
