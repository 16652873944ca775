{% set unit = '(' ~ from_minor_units('1', 'months.currency') ~ ')' %}

with prices as (

    select *
    from {{ ref('int_subscription_price_history') }}

),

-- What each item of a subscription costs today.
current_prices as (

    select
        subscriptions.organisation_id,
        subscriptions.customer_id,
        items.currency,
        items.annual_amount,
        subscriptions.started_at,
        subscriptions.is_in_force
    from {{ ref('int_subscriptions_with_subscriber') }} as subscriptions
    inner join {{ ref('stg_stripe__subscription_items') }} as items
        on subscriptions.id = items.subscription_id

),

beginnings as (

    select
        organisation_id,
        customer_id,
        currency,
        started_at
    from prices

    union all

    select
        organisation_id,
        customer_id,
        currency,
        started_at
    from current_prices

),

first_months as (

    select
        organisation_id,
        customer_id,
        currency,
        date_trunc({{ bounded_day('date(min(started_at))') }}, month) as first_month
    from beginnings
    group by organisation_id, customer_id, currency

),

months as (

    select
        first_months.organisation_id,
        first_months.customer_id,
        coalesce(first_months.organisation_id, first_months.customer_id) as subscriber_id,
        first_months.currency,
        month
    from first_months
    cross join
        unnest(
            generate_date_array(
                first_months.first_month, date_trunc({{ today() }}, month), interval 1 month
            )
        ) as month

),

amounts as (

    -- A month that has passed counts the prices that held at its end.
    select
        coalesce(prices.organisation_id, prices.customer_id) as subscriber_id,
        prices.currency,
        month,
        prices.annual_amount
    from prices
    cross join
        unnest(
            generate_date_array(
                date_trunc({{ bounded_day('date(prices.started_at)') }}, month),
                date_sub(date_trunc({{ today() }}, month), interval 1 month),
                interval 1 month
            )
        ) as month
    where
        prices.started_at < timestamp(date_add(month, interval 1 month))
        and prices.ended_at >= timestamp(date_add(month, interval 1 month))

    union all

    -- The current month counts today's prices.
    select
        coalesce(organisation_id, customer_id) as subscriber_id,
        currency,
        date_trunc({{ today() }}, month) as month,
        annual_amount
    from current_prices
    where is_in_force

),

sums as (

    select
        subscriber_id,
        currency,
        month,
        sum(annual_amount) as annual_amount
    from amounts
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
    cast(
        round(cast(coalesce(sums.annual_amount, 0) / {{ unit }} as numeric) / 12) as numeric
    ) * {{ unit }} as mrr
from months
left join sums
    on
        months.subscriber_id = sums.subscriber_id
        and months.currency = sums.currency
        and months.month = sums.month
