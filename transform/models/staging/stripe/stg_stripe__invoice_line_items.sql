with source as (

    select *
    from {{ ref('int_stripe__current_invoice_line_items') }}

),

extracted as (

    select
        *,
        -- A credit for unused time, also where that cost nothing.
        is_proration and (amount < 0 or has_credited_items) as is_credit,
        amount - minor_discount_amount as minor_discounted_amount,
        amount - minor_discount_amount - minor_inclusive_tax_amount as minor_net_amount,
        countif(is_proration and amount >= 0 and not has_credited_items) over (
            partition by invoice, subscription_item_id, json_value(period, '$.start')
        ) as charge_count
    from source

),

estimated as (

    select
        *,
        {{ whole_period_amount('amount', 'period', 'billing_interval', 'interval_count') }}
            as minor_estimate
    from extracted

),

priced as (

    select
        *,
        if(
            minor_discount_amount = 0,
            cast(minor_net_amount as numeric),
            {{ without_tax('amount') }}
        ) as minor_amount_without_tax,
        -- The charge for the rest of a period isn't the whole price, which is that of the
        -- quantity. If each tier has a line, it is that of the lines. If nobody knows the price, it
        -- is estimated.
        coalesce(
            if(
                is_tiered and charge_count > 1,
                safe_multiply(stated_unit_amount, quantity),
                minor_period_amount
            ),
            if(is_proration, minor_estimate, null)
        ) as minor_price,
        if(
            is_tiered, minor_estimate, coalesce(minor_period_amount, minor_estimate)
        ) as minor_price_of_whole_period,
        -- A first period until a fixed day, and several periods billed at once, are not the whole
        -- price either. Months differ by less.
        amount > 0
        and not is_proration
        and abs(minor_estimate - amount) > 0.2 * amount as has_other_length
    from estimated

),

periods as (

    select
        *,
        -- A trial's line is 0.
        case
            when is_metered then null
            when is_credit then numeric '0'
            when is_proration then {{ without_tax('minor_price') }}
            when has_other_length then {{ without_tax('minor_price_of_whole_period') }}
            else minor_amount_without_tax
        end as minor_recurring_amount
    from priced

),

renamed as (

    select
        ---------- ids
        id,
        invoice as invoice_id,
        subscription_id,
        subscription_item_id,
        invoice_item_id,
        price_id as plan_id,
        product_id,

        ---------- text
        description,
        upper(currency) as currency,

        ---------- numbers
        quantity,
        {{ from_minor_units('minor_unit_amount', 'currency') }} as unit_amount,
        {{ from_minor_units('amount', 'currency') }} as amount,
        {{ from_minor_units('minor_amount_without_tax', 'currency') }} as amount_without_tax,
        {{ from_minor_units('minor_discount_amount', 'currency') }} as discount_amount,
        {{ from_minor_units('minor_recurring_discount_amount', 'currency') }}
            as recurring_discount_amount,
        {{ from_minor_units('minor_tax_amount', 'currency') }} as tax_amount,
        {{ from_minor_units('minor_net_amount', 'currency') }} as net_amount,
        {{ from_minor_units('minor_recurring_amount', 'currency') }} as recurring_amount,
        {{
            annual_amount(
                from_minor_units('minor_recurring_amount', 'currency'),
                'billing_interval', 'interval_count'
            )
        }} as annual_amount,

        included_tax_percentage,

        ---------- booleans
        is_proration,
        is_tiered,
        is_credit,
        is_metered,

        ---------- timestamps
        {{ json_timestamp('period', '$.start') }} as period_started_at,
        {{ json_timestamp('period', '$.end') }} as period_ends_at,
        invoiced_at

    from periods

)

select *
from renamed
