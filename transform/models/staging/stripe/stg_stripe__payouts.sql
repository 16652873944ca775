with source as (

    select *
    from {{ source('stripe', 'payouts') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        balance_transaction as balance_transaction_id,

        ---------- text
        status,
        type,
        method,
        description,
        failure_code,
        failure_message,
        upper(currency) as currency,

        ---------- numbers
        {{ from_minor_units('amount', 'currency') }} as amount,

        ---------- booleans
        status = 'paid' as is_paid,
        automatic as is_automatic,

        ---------- timestamps
        arrival_date as arrives_at,
        created as created_at

    from source

)

select *
from renamed
