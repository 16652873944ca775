with invoices as (

    {{ with_organisation(source('stripe', 'invoices')) | indent(4) }}

),

-- Bank debits take days to clear. Until then, the charge is pending and the payment is processing.
charges as (

    select
        invoice_id,
        array_agg(id order by created desc, id asc limit 1)[safe_offset(0)] as latest_charge_id,
        logical_or(status = 'pending') as is_clearing
    from {{ ref('int_stripe__charges_with_invoice') }}
    where invoice_id is not null
    group by invoice_id

),

payments as (

    select
        invoices.id as invoice_id,
        json_value(listed_payment, '$.payment.payment_intent') as payment_intent_id
    from invoices
    cross join unnest(json_query_array(invoices.payments, '$.data')) as listed_payment

    union distinct

    select
        id as invoice_id,
        payment_intent as payment_intent_id
    from invoices

),

processing as (

    select distinct payments.invoice_id
    from payments
    inner join {{ source('stripe', 'payment_intents') }} as payment_intents
        on payments.payment_intent_id = payment_intents.id
    where payment_intents.status = 'processing'

),

taxes as (

    select
        invoices.id as invoice_id,
        sum(safe_cast(json_value(listed_tax, '$.amount') as numeric)) as minor_tax_amount
    from invoices
    cross join unnest(json_query_array(invoices.total_taxes)) as listed_tax
    group by invoices.id

),

discounts as (

    select
        invoices.id as invoice_id,
        sum(safe_cast(json_value(listed_discount, '$.amount') as numeric)) as minor_discount_amount
    from invoices
    cross join unnest(json_query_array(invoices.total_discount_amounts)) as listed_discount
    group by invoices.id

)

select
    invoices.*,
    if(invoices.api_version is null, invoices.charge, charges.latest_charge_id) as latest_charge_id,
    if(
        invoices.api_version is null, cast(invoices.tax as numeric), taxes.minor_tax_amount
    ) as minor_tax_amount,
    coalesce(discounts.minor_discount_amount, 0) as minor_discount_amount,
    coalesce(charges.is_clearing, false) or processing.invoice_id is not null as is_clearing
from invoices
left join charges on invoices.id = charges.invoice_id
left join processing on invoices.id = processing.invoice_id
left join taxes on invoices.id = taxes.invoice_id
left join discounts on invoices.id = discounts.invoice_id
