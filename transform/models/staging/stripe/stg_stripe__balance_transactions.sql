with source as (

    select *
    from {{ source('stripe', 'balance_transactions') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        source as source_id,

        ---------- text
        type,
        reporting_category,
        status,
        description,
        upper(currency) as currency,

        ---------- numbers
        {{ from_minor_units('amount', 'currency') }} as amount,
        {{ from_minor_units('fee', 'currency') }} as fee,
        {{ from_minor_units('net', 'currency') }} as net,
        safe_cast(exchange_rate as numeric) as exchange_rate,

        ---------- timestamps
        available_on as available_at,
        created as created_at

    from source

)

select *
from renamed
