with source as (

    select *
    from {{ source('stripe', 'customers') }}
    where _sdc_deleted_at is null

)

select
    id,
    json_value(metadata, '$.organisation_id') as organisation_id,
    -- Stripe reports a deleted customer by its last event.
    coalesce(updated_by_event_type, '') = 'customer.deleted' as is_deleted
from source
