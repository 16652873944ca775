with source as (

    select *
    from {{ source('stripe', 'subscription_items') }}
    where _sdc_deleted_at is null

),

subscriptions as (

    select
        id,
        items,
        currency,
        current_period_start,
        current_period_end,
        api_version,
        as_of
    from {{ source('stripe', 'subscriptions') }}
    where _sdc_deleted_at is null

),

current_items as (

    select
        source.* except (current_period_start, current_period_end),
        -- Before API version 2025-03-31, all items had the period of their subscription.
        if(
            source.api_version is null,
            subscriptions.current_period_start,
            source.current_period_start
        ) as current_period_start,
        if(
            source.api_version is null, subscriptions.current_period_end, source.current_period_end
        ) as current_period_end,
        subscriptions.currency,
        coalesce(json_value(source.price, '$.id'), json_value(source.plan, '$.id')) as price_id,
        cast(null as numeric) as stated_unit_amount
    from source
    left join subscriptions on source.subscription = subscriptions.id
    where {{ is_current_part('source', 'subscriptions', 'subscriptions.items') }}

)

{{ with_price_terms('current_items') }}
