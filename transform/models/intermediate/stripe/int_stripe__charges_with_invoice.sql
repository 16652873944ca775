with charges as (

    select *
    from {{ source('stripe', 'charges') }}
    where _sdc_deleted_at is null

),

invoices as (

    select *
    from {{ source('stripe', 'invoices') }}
    where _sdc_deleted_at is null

),

payments as (

    select
        invoices.id as invoice_id,
        json_value(listed_payment, '$.payment.payment_intent') as payment_intent_id,
        json_value(listed_payment, '$.payment.charge') as charge_id
    from invoices
    cross join unnest(json_query_array(invoices.payments, '$.data')) as listed_payment

),

by_payment_intent as (

    select
        payment_intent_id,
        min(invoice_id) as invoice_id
    from payments
    where payment_intent_id is not null
    group by payment_intent_id

),

by_charge as (

    select
        charge_id,
        min(invoice_id) as invoice_id
    from payments
    where charge_id is not null
    group by charge_id

)

-- The charges of tap-stripe say their invoice. Since API version 2025-03-31, the invoice says its
-- payments.
select
    charges.*,
    coalesce(charges.invoice, by_charge.invoice_id, by_payment_intent.invoice_id) as invoice_id
from charges
left join by_charge on charges.id = by_charge.charge_id
left join by_payment_intent on charges.payment_intent = by_payment_intent.payment_intent_id
