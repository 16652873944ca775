with source as (

    select *
    from {{ ref('int_stripe__invoices_with_organisation') }}

),

renamed as (

    select
        ---------- ids
        id,
        customer as customer_id,
        organisation_id,
        subscription as subscription_id,
        charge as charge_id,

        ---------- text
        number,
        status,
        billing_reason,
        collection_method,
        upper(currency) as currency,
        hosted_invoice_url as url,

        ---------- numbers
        {{ from_minor_units('subtotal', 'currency') }} as subtotal,
        {{ from_minor_units('tax', 'currency') }} as tax,
        {{ from_minor_units('total', 'currency') }} as total,
        {{ from_minor_units('amount_due', 'currency') }} as amount_due,
        {{ from_minor_units('amount_paid', 'currency') }} as amount_paid,
        {{ from_minor_units('amount_remaining', 'currency') }} as amount_remaining,
        attempt_count,

        ---------- booleans
        paid as is_paid,
        status = 'open'
        and (
            coalesce(attempted, false)
            or coalesce(due_date < timestamp({{ today() }}), false)
        ) as is_overdue,
        has_customer,

        ---------- timestamps
        due_date as due_at,
        next_payment_attempt as next_payment_attempt_at,
        safe_cast(
            json_value(status_transitions, '$.finalized_at') as timestamp
        ) as finalised_at,
        safe_cast(json_value(status_transitions, '$.paid_at') as timestamp) as paid_at,
        safe_cast(json_value(status_transitions, '$.voided_at') as timestamp) as voided_at,
        safe_cast(
            json_value(status_transitions, '$.marked_uncollectible_at') as timestamp
        ) as written_off_at,
        created as created_at,
        updated as updated_at

    from source
    -- Stripe reports a deleted draft by its last event.
    where coalesce(updated_by_event_type, '') != 'invoice.deleted'

)

select *
from renamed
