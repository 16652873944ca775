with source as (

    select *
    from {{ source('stripe', 'subscription_items') }}
    where _sdc_deleted_at is null

),

subscriptions as (

    select
        id,
        items,
        api_version,
        as_of
    from {{ source('stripe', 'subscriptions') }}
    where _sdc_deleted_at is null

),

-- Stripe doesn't report a removed item. A subscription is read together with its items, so one
-- that wasn't read with it was removed. In the rows of tap-stripe, a subscription lists its first
-- ten items.
current_items as (

    select
        source.*,
        coalesce(json_value(source.price, '$.id'), json_value(source.plan, '$.id')) as price_id,
        cast(null as numeric) as stated_unit_amount
    from source
    left join subscriptions on source.subscription = subscriptions.id
    where
        if(
            subscriptions.api_version is not null,
            coalesce(source.as_of >= subscriptions.as_of, false),
            coalesce(array_length(subscriptions.items), 0) not between 1 and 9
            or source.id in unnest(subscriptions.items)
        )

)

{{ with_price_terms('current_items') }}
