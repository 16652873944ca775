with source as (

    select *
    from {{ source('stripe', 'products') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,

        ---------- text
        name,
        description,
        unit_label,

        ---------- booleans
        active and coalesce(updated_by_event_type, '') != 'product.deleted' as is_active,
        coalesce(updated_by_event_type, '') = 'product.deleted' as is_deleted,

        ---------- timestamps
        created as created_at,
        updated as updated_at

    from source

)

select *
from renamed
