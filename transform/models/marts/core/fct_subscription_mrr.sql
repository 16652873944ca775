{{
    config(
        partition_by={'field': 'month', 'data_type': 'date', 'granularity': 'month'},
        cluster_by='organisation_id',
    )
}}
{% set unit = '(' ~ from_minor_units('1', 'months.currency') ~ ')' %}

with organisations as (

    select id
    from {{ ref('stg_product__organisations') }}

),

-- Whose first payment failed never subscribed.
subscriptions as (

    select
        subscriptions.id,
        organisations.id as organisation_id,
        -- Nobody is left out: without an organisation, the customer stands for itself.
        if(organisations.id is null, subscriptions.customer_id, null) as customer_id,
        subscriptions.is_in_force,
        subscriptions.started_at,
        subscriptions.ended_at
    from {{ ref('stg_stripe__subscriptions') }} as subscriptions
    left join organisations on subscriptions.organisation_id = organisations.id
    where subscriptions.status not in ('incomplete', 'incomplete_expired')

),

-- What each item of a subscription brings in today.
current_items as (

    select
        subscription_id,
        currency,
        annual_amount
    from {{ ref('stg_stripe__subscription_items') }}

),

-- What it brought in before, nobody keeps; but each period was billed, and so was each change
-- within one. Until it is billed, a change waits as an invoice item.
billed as (

    select
        subscription_item_id,
        subscription_id,
        currency,
        annual_amount,
        is_proration,
        is_credit,
        period_started_at as started_at,
        invoiced_at as noted_at
    from {{ ref('stg_stripe__invoice_line_items') }}

    union all

    select
        subscription_item_id,
        subscription_id,
        currency,
        annual_amount,
        is_proration,
        is_credit,
        period_started_at as started_at,
        created_at as noted_at
    from {{ ref('stg_stripe__invoice_items') }}
    where is_proration

),

-- From each moment on, what was charged last counts. A credit alone means that the item is gone.
changes as (

    select *
    from billed
    where subscription_item_id is not null and annual_amount is not null
    qualify
        row_number() over (
            partition by subscription_item_id, started_at
            order by is_credit asc, is_proration desc, noted_at desc
        ) = 1

),

-- The next period goes on from the one before, however late it is billed, until the end.
spans as (

    select
        subscriptions.organisation_id,
        subscriptions.customer_id,
        changes.currency,
        changes.annual_amount,
        changes.started_at,
        least(
            coalesce(
                lead(changes.started_at) over (
                    partition by changes.subscription_item_id order by changes.started_at
                ),
                timestamp '9999-12-31'
            ),
            coalesce(subscriptions.ended_at, timestamp '9999-12-31')
        ) as ended_at
    from changes
    inner join subscriptions on changes.subscription_id = subscriptions.id

),

beginnings as (

    select
        organisation_id,
        customer_id,
        currency,
        started_at
    from spans

    union all

    select
        subscriptions.organisation_id,
        subscriptions.customer_id,
        current_items.currency,
        subscriptions.started_at
    from subscriptions
    inner join current_items on subscriptions.id = current_items.subscription_id

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

    -- At the end of each month that has passed,
    select
        spans.organisation_id,
        spans.customer_id,
        spans.currency,
        month,
        spans.annual_amount
    from spans
    cross join
        unnest(
            generate_date_array(
                date_trunc({{ bounded_day('date(spans.started_at)') }}, month),
                date_sub(date_trunc({{ today() }}, month), interval 1 month),
                interval 1 month
            )
        ) as month
    where
        spans.started_at < timestamp(date_add(month, interval 1 month))
        and spans.ended_at >= timestamp(date_add(month, interval 1 month))

    union all

    -- and now.
    select
        subscriptions.organisation_id,
        subscriptions.customer_id,
        current_items.currency,
        date_trunc({{ today() }}, month) as month,
        current_items.annual_amount
    from subscriptions
    inner join current_items on subscriptions.id = current_items.subscription_id
    where subscriptions.is_in_force

),

-- An organisation, or a customer without one, in a currency.
sums as (

    select
        coalesce(organisation_id, customer_id) as subscriber_id,
        currency,
        month,
        sum(annual_amount) as annual_amount
    from amounts
    group by subscriber_id, currency, month

),

monthly as (

    select
        months.organisation_id,
        months.customer_id,
        coalesce(months.organisation_id, months.customer_id) as subscriber_id,
        months.currency,
        months.month,
        -- Rounded once, to what the currency has: cents, or whole yen. Quotients are cast, so that
        -- they stay exact where a division of decimals makes floating-point numbers too.
        cast(
            round(cast(coalesce(sums.annual_amount, 0) / {{ unit }} as numeric) / 12) as numeric
        ) * {{ unit }} as mrr
    from months
    left join sums
        on
            coalesce(months.organisation_id, months.customer_id) = sums.subscriber_id
            and months.currency = sums.currency
            and months.month = sums.month

),

compared as (

    select
        *,
        coalesce(lag(mrr) over by_month, 0) as previous_mrr,
        coalesce(
            max(mrr) over (
                partition by subscriber_id, currency
                order by month
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) as highest_mrr_before
    from monthly
    window by_month as (partition by subscriber_id, currency order by month)

),

moved as (

    select
        *,
        mrr - previous_mrr as mrr_change,
        case
            when mrr = previous_mrr then 'unchanged'
            when previous_mrr = 0 and highest_mrr_before = 0 then 'new'
            when previous_mrr = 0 then 'reactivation'
            when mrr = 0 then 'churn'
            when mrr > previous_mrr then 'expansion'
            else 'contraction'
        end as movement
    from compared

)

select
    ---------- ids
    {{ surrogate_key(['subscriber_id', 'currency', 'cast(month as string)']) }} as id,
    organisation_id,
    customer_id,

    ---------- dates
    month,

    ---------- text
    currency,
    movement,

    ---------- numbers
    {{ contract_numeric('mrr') }} as mrr,
    {{ contract_numeric('previous_mrr') }} as previous_mrr,
    {{ contract_numeric('mrr_change') }} as mrr_change,
    {% for movement, column in [
        ('new', 'new_mrr'), ('expansion', 'expansion_mrr'), ('contraction', 'contraction_mrr'),
        ('churn', 'churned_mrr'), ('reactivation', 'reactivation_mrr'),
    ] -%}
        {{ contract_numeric("if(movement = '" ~ movement ~ "', mrr_change, 0)") }} as {{ column }},
    {% endfor %}

    ---------- booleans
    month = date_trunc({{ today() }}, month) as is_current_month

from moved
