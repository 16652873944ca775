with source as (

    select *
    from {{ source('stripe', 'payment_intents') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        customer as customer_id,
        latest_charge as latest_charge_id,

        ---------- text
        status,
        description,
        array_to_string(json_value_array(payment_method_types), ', ') as payment_methods,
        cancellation_reason,
        json_value(last_payment_error, '$.code') as failure_code,
        json_value(last_payment_error, '$.message') as failure_message,
        upper(currency) as currency,

        ---------- numbers
        {{ from_minor_units('amount', 'currency') }} as amount,
        {{ from_minor_units('amount_received', 'currency') }} as amount_received,

        ---------- booleans
        status = 'succeeded' as is_successful,
        status = 'processing' as is_clearing,

        ---------- timestamps
        canceled_at,
        created as created_at

    from source

)

select *
from renamed
