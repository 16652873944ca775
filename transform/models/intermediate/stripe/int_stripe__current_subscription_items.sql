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

current_items as (

    select
        source.*,
        coalesce(json_value(source.price, '$.id'), json_value(source.plan, '$.id')) as price_id,
        cast(null as numeric) as stated_unit_amount
    from source
    left join subscriptions on source.subscription = subscriptions.id
    where {{ is_current_part('source', 'subscriptions', 'subscriptions.items') }}

)

{{ with_price_terms('current_items') }}
