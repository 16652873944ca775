with source as (

    select *
    from {{ source('stripe', 'invoices') }}
    where _sdc_deleted_at is null

),

-- Deleted customers too: their invoices stay.
customers as (

    {{ stripe_customers() }}

),

renamed as (

    select
        ---------- ids
        source.id,
        source.customer as customer_id,
        customers.organisation_id,
        source.subscription as subscription_id,
        source.charge as charge_id,

        ---------- text
        source.number,
        source.status,
        source.billing_reason,
        source.collection_method,
        upper(source.currency) as currency,
        source.hosted_invoice_url as url,

        ---------- numbers
        {{ from_minor_units('source.subtotal', 'source.currency') }} as subtotal,
        {{ from_minor_units('source.tax', 'source.currency') }} as tax,
        {{ from_minor_units('source.total', 'source.currency') }} as total,
        {{ from_minor_units('source.amount_due', 'source.currency') }} as amount_due,
        {{ from_minor_units('source.amount_paid', 'source.currency') }} as amount_paid,
        {{ from_minor_units('source.amount_remaining', 'source.currency') }} as amount_remaining,
        source.attempt_count,

        ---------- booleans
        source.paid as is_paid,
        source.status = 'open'
        and (
            coalesce(source.attempted, false)
            or coalesce(source.due_date < timestamp({{ today() }}), false)
        ) as is_overdue,
        coalesce(not customers.is_deleted, false) as has_customer,

        ---------- timestamps
        source.due_date as due_at,
        source.next_payment_attempt as next_payment_attempt_at,
        safe_cast(
            json_value(source.status_transitions, '$.finalized_at') as timestamp
        ) as finalised_at,
        safe_cast(json_value(source.status_transitions, '$.paid_at') as timestamp) as paid_at,
        safe_cast(json_value(source.status_transitions, '$.voided_at') as timestamp) as voided_at,
        safe_cast(
            json_value(source.status_transitions, '$.marked_uncollectible_at') as timestamp
        ) as written_off_at,
        source.created as created_at,
        source.updated as updated_at

    from source
    left join customers on source.customer = customers.id
    -- A draft can be deleted; what is known of it then is the event that says so.
    where coalesce(source.updated_by_event_type, '') != 'invoice.deleted'

)

select *
from renamed
