with source as (

    select *
    from {{ source('stripe', 'credit_notes') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        customer as customer_id,
        invoice as invoice_id,

        ---------- text
        number,
        status,
        type,
        reason,
        memo,
        upper(currency) as currency,

        ---------- numbers
        {{ from_minor_units('subtotal', 'currency') }} as subtotal,
        {{ from_minor_units('discount_amount', 'currency') }} as discount_amount,
        {{ from_minor_units('total', 'currency') }} as total,
        {{ from_minor_units('total_excluding_tax', 'currency') }} as total_without_tax,

        ---------- booleans
        status = 'void' as is_void,

        ---------- timestamps
        voided_at,
        created as created_at

    from source

)

select *
from renamed
