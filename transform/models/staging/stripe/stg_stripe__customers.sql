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
        if(api_version is null, updated, null) as updated_at

    from source
    -- In the rows of tap-stripe, the last event says that a customer was deleted.
    where coalesce(updated_by_event_type, '') != 'customer.deleted'

)

select *
from renamed
