with source as (

    select
        *,
        -- The loader marks a deleted product. In the rows of tap-stripe, its last event says so.
        _sdc_deleted_at is not null
        or coalesce(updated_by_event_type, '') = 'product.deleted' as is_deleted
    from {{ source('stripe', 'products') }}

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
        active and not is_deleted as is_active,
        is_deleted,

        ---------- timestamps
        created as created_at,
        updated as updated_at

    from source

)

select *
from renamed
