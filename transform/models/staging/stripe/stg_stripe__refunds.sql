with source as (

    select *
    from {{ source('stripe', 'refunds') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        charge as charge_id,
        payment_intent as payment_intent_id,
        balance_transaction as balance_transaction_id,

        ---------- text
        status,
        reason,
        failure_reason,
        upper(currency) as currency,

        ---------- numbers
        {{ from_minor_units('amount', 'currency') }} as amount,

        ---------- booleans
        status = 'succeeded' as is_successful,

        ---------- timestamps
        created as created_at

    from source

)

select *
from renamed
