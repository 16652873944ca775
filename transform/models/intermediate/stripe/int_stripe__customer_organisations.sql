select
    id,
    json_value(metadata, '$.organisation_id') as organisation_id,
    -- The loader marks a deleted customer. In the rows of tap-stripe, its last event says so.
    _sdc_deleted_at is not null
    or coalesce(updated_by_event_type, '') = 'customer.deleted' as is_deleted
from {{ source('stripe', 'customers') }}
