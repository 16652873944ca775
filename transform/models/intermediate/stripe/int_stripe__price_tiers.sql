with tiers as (

    select
        prices.id as price_id,
        prices.tiers_mode,
        position,
        safe_cast(json_value(tier, '$.up_to') as int64) as up_to,
        coalesce(
            safe_cast(json_value(tier, '$.unit_amount_decimal') as numeric),
            safe_cast(json_value(tier, '$.unit_amount') as numeric),
            0
        ) as minor_unit_amount,
        coalesce(
            safe_cast(json_value(tier, '$.flat_amount_decimal') as numeric),
            safe_cast(json_value(tier, '$.flat_amount') as numeric),
            0
        ) as minor_flat_amount
    from {{ ref('int_stripe__prices') }} as prices
    cross join unnest(json_query_array(prices.tiers)) as tier with offset as position

)

select
    price_id,
    tiers_mode,
    up_to,
    coalesce(lag(up_to) over (partition by price_id order by position), 0) as above,
    minor_unit_amount,
    minor_flat_amount
from tiers
