with source as (

    select *
    from {{ ref('int_stripe__current_invoice_line_items') }}

),

extracted as (

    select
        *,
        json_value(plan, '$.id') as plan_id,
        json_value(plan, '$.product') as product_id,
        json_value(plan, '$.interval') as billing_interval,
        lax_int64(json_query(plan, '$.interval_count')) as interval_count,
        coalesce(
            safe_cast(json_value(price, '$.unit_amount_decimal') as numeric),
            safe_cast(json_value(plan, '$.amount') as numeric)
        ) as minor_unit_amount,
        coalesce(proration, false) as is_proration,
        -- A credit for unused time.
        coalesce(proration, false) and amount < 0 as is_credit,
        safe_cast(json_value(period, '$.start') as timestamp) as period_started_at,
        safe_cast(json_value(period, '$.end') as timestamp) as period_ends_at
    from source

),

priced as (

    select
        *,
        -- The charge for the rest of a period isn't the whole price. A trial's line is 0.
        case
            when is_credit then numeric '0'
            when is_proration then safe_multiply(minor_unit_amount, quantity)
            else cast(amount as numeric)
        end as minor_period_amount
    from extracted

),

renamed as (

    select
        ---------- ids
        id,
        invoice as invoice_id,
        subscription as subscription_id,
        subscription_item as subscription_item_id,
        invoice_item as invoice_item_id,
        plan_id,
        product_id,

        ---------- text
        description,
        upper(currency) as currency,

        ---------- numbers
        quantity,
        {{ from_minor_units('minor_unit_amount', 'currency') }} as unit_amount,
        {{ from_minor_units('amount', 'currency') }} as amount,
        {{
            annual_amount(
                from_minor_units('minor_period_amount', 'currency'),
                'billing_interval', 'interval_count'
            )
        }} as annual_amount,

        ---------- booleans
        is_proration,
        is_credit,

        ---------- timestamps
        period_started_at,
        period_ends_at,
        invoiced_at

    from priced

)

select *
from renamed
