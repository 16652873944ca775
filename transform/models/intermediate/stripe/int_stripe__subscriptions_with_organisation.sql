with subscriptions as (

    {{ with_organisation(source('stripe', 'subscriptions')) | indent(4) }}

),

-- Since API version 2025-03-31, each item has a period of its own.
periods as (

    select
        subscription,
        max(current_period_start) as period_started_at,
        min(current_period_end) as period_ends_at
    from {{ ref('int_stripe__current_subscription_items') }}
    group by subscription

)

select
    subscriptions.*,
    if(
        subscriptions.api_version is null,
        subscriptions.current_period_start,
        periods.period_started_at
    ) as period_started_at,
    if(
        subscriptions.api_version is null, subscriptions.current_period_end, periods.period_ends_at
    ) as period_ends_at
from subscriptions
left join periods on subscriptions.id = periods.subscription
