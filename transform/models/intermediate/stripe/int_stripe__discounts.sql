with loaded as (

    select
        id,
        customer,
        subscription,
        subscription_item,
        invoice,
        invoice_item,
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
        2 as precedence,
        discount
    from {{ source('stripe', 'customers') }}

    union all

    select
        2 as precedence,
        discount
    from {{ source('stripe', 'subscriptions') }}
    where api_version is null

    union all

    select
        3 as precedence,
        discount
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
        precedence,
        json_value(discount, '$.id') as id,
        json_value(discount, '$.customer') as customer,
        json_value(discount, '$.subscription') as subscription,
        json_value(discount, '$.subscription_item') as subscription_item,
        json_value(discount, '$.invoice') as invoice,
        json_value(discount, '$.invoice_item') as invoice_item,
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
    qualify row_number() over (partition by id order by precedence, ends_at) = 1

),

with_terms as (

    select
        chosen.id,
        chosen.customer,
        chosen.subscription,
        chosen.subscription_item,
        chosen.invoice,
        chosen.invoice_item,
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

)

-- What was given to one invoice, or to one thing on it, does not come again, whatever its coupon
-- says.
select
    *,
    duration in ('forever', 'repeating')
    and (
        subscription is not null
        or subscription_item is not null
        or (invoice is null and invoice_item is null)
    ) as is_recurring
from with_terms
