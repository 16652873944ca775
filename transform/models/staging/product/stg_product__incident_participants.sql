with source as (

    select *
    from {{ source('product', 'incident_participants') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        {{ surrogate_key(['incident_id', 'user_id']) }} as id,
        incident_id,
        user_id,
        organisation_id,

        ---------- text
        role,

        ---------- numbers
        message_count,

        ---------- timestamps
        joined_at,
        updated_at

    from source

)

select *
from renamed
