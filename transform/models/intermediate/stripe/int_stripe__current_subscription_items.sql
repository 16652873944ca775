with source as (

    select *
    from {{ source('stripe', 'subscription_items') }}
    where _sdc_deleted_at is null

),

-- A subscription lists its first ten items.
subscriptions as (

    select
        id,
        items
    from {{ source('stripe', 'subscriptions') }}
    where _sdc_deleted_at is null

)

-- Stripe doesn't report a removed item, but its subscription no longer lists it.
select source.*
from source
left join subscriptions on source.subscription = subscriptions.id
where
    coalesce(array_length(subscriptions.items), 0) not between 1 and 9
    or source.id in unnest(subscriptions.items)
