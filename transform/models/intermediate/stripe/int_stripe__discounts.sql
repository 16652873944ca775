with loaded as (

    select
        id,
        customer,
        subscription,
        subscription_item,
        invoice,
        promotion_code,
        start as started_at,
        `end` as ends_at,
        -- A null of JSON is a value.
        if(
            coalesce(json_type(json_query(source, '$.coupon')), 'null') = 'null', coupon,
            json_query(source, '$.coupon')
        ) as coupon,
        coalesce(
            json_value(source, '$.coupon.id'), json_value(source, '$.coupon'),
            json_value(coupon, '$.id'), json_value(coupon, '$')
        ) as coupon_id
    from {{ source('stripe', 'discounts') }}

),

-- In the rows of tap-stripe, what has a discount holds it. A customer still does.
held as (

    select
        discount,
        cast(null as string) as invoice
    from {{ source('stripe', 'customers') }}

    union all

    select
        discount,
        cast(null as string) as invoice
    from {{ source('stripe', 'subscriptions') }}
    where api_version is null

    union all

    select
        discount,
        id as invoice
    from {{ source('stripe', 'invoices') }}
    where api_version is null

),

discounts as (

    select
        1 as precedence,
        loaded.*
    from loaded

    union all

    select
        2 as precedence,
        json_value(discount, '$.id') as id,
        json_value(discount, '$.customer') as customer,
        json_value(discount, '$.subscription') as subscription,
        cast(null as string) as subscription_item,
        coalesce(json_value(discount, '$.invoice'), invoice) as invoice,
        json_value(discount, '$.promotion_code') as promotion_code,
        {{ json_timestamp('discount', '$.start') }} as started_at,
        {{ json_timestamp('discount', '$.end') }} as ends_at,
        json_query(discount, '$.coupon') as coupon,
        json_value(discount, '$.coupon.id') as coupon_id
    from held
    where json_value(discount, '$.id') is not null

),

chosen as (

    select *
    from discounts
    qualify row_number() over (partition by id order by precedence, invoice) = 1

)

select
    chosen.id,
    chosen.customer,
    chosen.subscription,
    chosen.subscription_item,
    chosen.invoice,
    chosen.promotion_code,
    chosen.coupon_id,
    -- Only a repeating discount has an end.
    coalesce(
        json_value(chosen.coupon, '$.duration'),
        coupons.duration,
        if(chosen.ends_at is not null, 'repeating', null)
    ) as duration,
    coalesce(
        safe_cast(json_value(chosen.coupon, '$.percent_off') as numeric),
        safe_cast(coupons.percent_off as numeric)
    ) as percent_off,
    coalesce(
        safe_cast(json_value(chosen.coupon, '$.amount_off') as numeric),
        safe_cast(coupons.amount_off as numeric)
    ) as minor_amount_off,
    coalesce(json_value(chosen.coupon, '$.currency'), coupons.currency) as currency,
    chosen.started_at,
    chosen.ends_at
from chosen
left join {{ source('stripe', 'coupons') }} as coupons on chosen.coupon_id = coupons.id
