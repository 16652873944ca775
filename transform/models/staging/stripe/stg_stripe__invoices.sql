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
        coalesce(
            subscription, json_value(parent, '$.subscription_details.subscription')
        ) as subscription_id,
        latest_charge_id as charge_id,

        ---------- text
        number,
        status,
        billing_reason,
        collection_method,
        json_value(status_details, '$.uncollectible.reason') as write_off_reason,
        upper(currency) as currency,
        hosted_invoice_url as url,

        ---------- numbers
        {{ from_minor_units('subtotal', 'currency') }} as subtotal,
        {{ from_minor_units('minor_discount_amount', 'currency') }} as discount_amount,
        {{ from_minor_units('minor_tax_amount', 'currency') }} as tax,
        {{ from_minor_units('total', 'currency') }} as total,
        {{ from_minor_units('amount_due', 'currency') }} as amount_due,
        {{ from_minor_units('amount_paid', 'currency') }} as amount_paid,
        {{ from_minor_units('amount_remaining', 'currency') }} as amount_remaining,
        attempt_count,

        ---------- booleans
        status = 'paid' as is_paid,
        coalesce(attempted, false) as is_attempted,
        coalesce(auto_advance, true) as is_auto_advanced,
        status = 'open' and is_clearing as is_clearing,
        status = 'open'
        and not is_clearing
        and (
            coalesce(attempted, false)
            or coalesce(due_date < timestamp({{ today() }}), false)
        ) as is_overdue,
        has_customer,

        ---------- timestamps
        due_date as due_at,
        next_payment_attempt as next_payment_attempt_at,
        {{ json_timestamp('status_transitions', '$.finalized_at') }} as finalised_at,
        {{ json_timestamp('status_transitions', '$.paid_at') }} as paid_at,
        {{ json_timestamp('status_transitions', '$.voided_at') }} as voided_at,
        {{ json_timestamp('status_transitions', '$.marked_uncollectible_at') }} as written_off_at,
        created as created_at,
        if(api_version is null, updated, null) as updated_at

    from source
    -- In the rows of tap-stripe, the last event says that a draft was deleted.
    where coalesce(updated_by_event_type, '') != 'invoice.deleted'

)

select *
from renamed
