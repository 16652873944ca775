with amounts as (

    select
        lines.id as line_id,
        json_value(listed_discount, '$.discount') as discount_id,
        safe_cast(json_value(listed_discount, '$.amount') as numeric) as minor_amount,
        cast(lines.amount as numeric) as line_minor_amount
    from {{ source('stripe', 'invoice_line_items') }} as lines
    cross join unnest(json_query_array(lines.discount_amounts)) as listed_discount

)

select
    amounts.line_id,
    amounts.minor_amount,
    amounts.line_minor_amount,
    coalesce(discounts.duration in ('forever', 'repeating'), false) as is_recurring,
    coalesce(discounts.minor_amount_off is not null, false) as is_fixed,
    if(discounts.duration = 'repeating', discounts.ends_at, null) as ends_at
from amounts
left join {{ ref('int_stripe__discounts') }} as discounts on amounts.discount_id = discounts.id
