with source as (

    select *
    from {{ source('stripe', 'charges') }}
    where _sdc_deleted_at is null

),

-- Deleted customers too: what they paid stays.
customers as (

    {{ stripe_customers() }}

),

renamed as (

    select
        ---------- ids
        source.id,
        source.customer as customer_id,
        customers.organisation_id,
        source.invoice as invoice_id,
        source.payment_intent as payment_intent_id,

        ---------- text
        source.status,
        source.description,
        source.failure_code,
        source.failure_message,
        json_value(source.payment_method_details, '$.type') as payment_method,
        json_value(source.payment_method_details, '$.card.brand') as card_brand,
        upper(source.currency) as currency,

        ---------- numbers
        {{ from_minor_units('source.amount', 'source.currency') }} as amount,
        {{ from_minor_units('source.amount_refunded', 'source.currency') }} as amount_refunded,

        ---------- booleans
        source.status = 'succeeded' as is_successful,
        source.refunded as is_refunded,
        source.disputed as is_disputed,
        coalesce(not customers.is_deleted, false) as has_customer,

        ---------- timestamps
        source.created as created_at,
        source.updated as updated_at

    from source
    left join customers on source.customer = customers.id

)

select *
from renamed
