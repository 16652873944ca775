{% set unit = '(' ~ from_minor_units('1', 'months.currency') ~ ')' %}
{%- set last_second -%}
    timestamp_sub(greatest(lines.period_ends_at, timestamp({{ first_day() }})), interval 1 second)
{%- endset -%}
{% set this_month = 'date_trunc(' ~ today() ~ ', month)' %}

with prices as (

    select
        *,
        coalesce(organisation_id, customer_id) as subscriber_id
    from {{ ref('int_subscription_price_history') }}

),

subscriptions as (

    select
        *,
        coalesce(organisation_id, customer_id) as subscriber_id
    from {{ ref('int_subscriptions_with_subscriber') }}

),

suspensions as (

    select *
    from {{ ref('int_subscription_suspensions') }}

),

-- Usage is billed after its period. It belongs to the month of the period's last second.
metered as (

    select
        subscriptions.organisation_id,
        subscriptions.customer_id,
        subscriptions.subscriber_id,
        lines.currency,
        date_trunc({{ bounded_day('date(' ~ last_second ~ ')') }}, month) as month,
        lines.net_amount
    from {{ ref('stg_stripe__invoice_line_items') }} as lines
    inner join subscriptions on lines.subscription_id = subscriptions.id
    inner join {{ ref('stg_stripe__invoices') }} as invoices on lines.invoice_id = invoices.id
    where
        lines.is_metered
        and lines.period_ends_at is not null
        and (
            invoices.status in ('open', 'paid')
            or (invoices.status = 'draft' and invoices.is_auto_advanced)
        )

),

beginnings as (

    select
        organisation_id,
        customer_id,
        subscriber_id,
        currency,
        {{ bounded_day('date(started_at)') }} as day
    from prices

    union all

    select
        subscriptions.organisation_id,
        subscriptions.customer_id,
        subscriptions.subscriber_id,
        items.currency,
        {{ bounded_day('date(subscriptions.started_at)') }} as day
    from subscriptions
    inner join {{ ref('stg_stripe__subscription_items') }} as items
        on subscriptions.id = items.subscription_id

    union all

    select
        organisation_id,
        customer_id,
        subscriber_id,
        currency,
        month as day
    from metered

),

first_months as (

    select
        organisation_id,
        customer_id,
        subscriber_id,
        currency,
        date_trunc(min(day), month) as first_month
    from beginnings
    where currency is not null
    group by organisation_id, customer_id, subscriber_id, currency

),

months as (

    select
        first_months.organisation_id,
        first_months.customer_id,
        first_months.subscriber_id,
        first_months.currency,
        month
    from first_months
    cross join
        unnest(
            generate_date_array(first_months.first_month, {{ this_month }}, interval 1 month)
        ) as month

),

-- A month counts what holds at its end, and the current month what holds now.
held as (

    select
        prices.subscriber_id,
        prices.currency,
        prices.subscription_id,
        prices.subscription_item_id,
        prices.annual_gross_amount,
        prices.annual_amount,
        month,
        timestamp(
            if(
                month = {{ this_month }},
                date_add({{ today() }}, interval 1 day),
                date_add(month, interval 1 month)
            )
        ) as counted_at
    from prices
    cross join
        unnest(
            generate_date_array(
                date_trunc({{ bounded_day('date(prices.started_at)') }}, month),
                date_trunc({{ bounded_day('date(prices.ended_at)') }}, month),
                interval 1 month
            )
        ) as month
    where
        prices.started_at < timestamp(
            if(
                month = {{ this_month }},
                date_add({{ today() }}, interval 1 day),
                date_add(month, interval 1 month)
            )
        )
        and prices.ended_at >= timestamp(
            if(
                month = {{ this_month }},
                date_add({{ today() }}, interval 1 day),
                date_add(month, interval 1 month)
            )
        )

),

-- Discounts take off no more than there is, also after the price has fallen.
item_amounts as (

    select
        held.subscriber_id,
        held.currency,
        held.month,
        sum(held.annual_gross_amount) as annual_gross_amount,
        greatest(sum(held.annual_amount), 0) as annual_amount
    from held
    inner join subscriptions on held.subscription_id = subscriptions.id
    left join suspensions
        on
            held.subscription_id = suspensions.subscription_id
            and held.counted_at > suspensions.started_at
            and held.counted_at <= suspensions.ended_at
            and coalesce(suspensions.subscription_item_id, held.subscription_item_id)
            = held.subscription_item_id
    where
        suspensions.subscription_id is null
        and (held.month < {{ this_month }} or subscriptions.is_in_force)
    group by held.subscriber_id, held.currency, held.month, held.subscription_item_id

),

amounts as (

    select
        subscriber_id,
        currency,
        month,
        sum(annual_gross_amount) as annual_gross_amount,
        sum(annual_amount) as annual_amount
    from item_amounts
    group by subscriber_id, currency, month

),

metered_sums as (

    select
        subscriber_id,
        currency,
        month,
        sum(net_amount) as metered_amount
    from metered
    group by subscriber_id, currency, month

)

select
    months.organisation_id,
    months.customer_id,
    months.subscriber_id,
    months.currency,
    months.month,
    -- Rounded once, to the currency's smallest unit. Each quotient is cast to NUMERIC, so that it
    -- stays exact where a division of decimals gives a floating-point number.
    {% for column, name in [('annual_gross_amount', 'gross_mrr'), ('annual_amount', 'mrr')] %}
        cast(
            round(cast(coalesce(amounts.{{ column }}, 0) / {{ unit }} as numeric) / 12) as numeric
        ) * {{ unit }} as {{ name }},
    {% endfor %}
    coalesce(metered_sums.metered_amount, 0) as metered_amount
from months
left join amounts
    on
        months.subscriber_id = amounts.subscriber_id
        and months.currency = amounts.currency
        and months.month = amounts.month
left join metered_sums
    on
        months.subscriber_id = metered_sums.subscriber_id
        and months.currency = metered_sums.currency
        and months.month = metered_sums.month
