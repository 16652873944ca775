with source as (

    select *
    from {{ source('stripe', 'customers') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        json_value(metadata, '$.organisation_id') as organisation_id,

        ---------- text
        name,
        email,
        phone,
        description,
        upper(currency) as currency,

        ---------- numbers
        {{ from_minor_units('balance', 'currency') }} as balance,

        ---------- booleans
        delinquent as is_delinquent,

        ---------- timestamps
        created as created_at,
        updated as updated_at

    from source
    -- Stripe reports a deleted customer by its last event.
    where coalesce(updated_by_event_type, '') != 'customer.deleted'

)

select *
from renamed
