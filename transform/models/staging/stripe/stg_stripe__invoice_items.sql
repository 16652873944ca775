with source as (

    select *
    from {{ source('stripe', 'invoice_items') }}
    where _sdc_deleted_at is null

),

extracted as (

    select
        *,
        json_value(plan, '$.id') as plan_id,
        json_value(plan, '$.interval') as billing_interval,
        lax_int64(json_query(plan, '$.interval_count')) as interval_count,
        coalesce(
            safe_cast(unit_amount_decimal as numeric), cast(unit_amount as numeric)
        ) as minor_unit_amount,
        coalesce(proration, false) as is_proration,
        -- A credit for unused time.
        coalesce(proration, false) and amount < 0 as is_credit
    from source
    -- Stripe reports a deleted item by its last event.
    where coalesce(updated_by_event_type, '') != 'invoiceitem.deleted'

),

renamed as (

    select
        ---------- ids
        id,
        customer as customer_id,
        invoice as invoice_id,
        subscription as subscription_id,
        subscription_item as subscription_item_id,
        plan_id,

        ---------- text
        description,
        upper(currency) as currency,

        ---------- numbers
        quantity,
        {{ from_minor_units('minor_unit_amount', 'currency') }} as unit_amount,
        {{ from_minor_units('amount', 'currency') }} as amount,
        {{
            annual_amount(
                from_minor_units(
                    "if(is_credit, numeric '0', safe_multiply(minor_unit_amount, quantity))", 'currency'
                ),
                'billing_interval', 'interval_count'
            )
        }} as annual_amount,

        ---------- booleans
        is_proration,
        is_credit,
        invoice is null as is_pending,

        ---------- timestamps
        safe_cast(json_value(period, '$.start') as timestamp) as period_started_at,
        safe_cast(json_value(period, '$.end') as timestamp) as period_ends_at,
        date as created_at,
        updated as updated_at

    from extracted

)

select *
from renamed
