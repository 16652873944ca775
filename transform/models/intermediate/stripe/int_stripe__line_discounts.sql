with amounts as (

    select
        lines.id as line_id,
        lines.invoice as invoice_id,
        json_value(listed_discount, '$.discount') as discount_id,
        safe_cast(json_value(listed_discount, '$.amount') as numeric) as minor_amount,
        cast(lines.amount as numeric) as line_minor_amount
    from {{ source('stripe', 'invoice_line_items') }} as lines
    cross join unnest(json_query_array(lines.discount_amounts)) as listed_discount
    where lines._sdc_deleted_at is null

),

uses as (

    select
        discount_id,
        count(distinct invoice_id) as invoice_count
    from amounts
    group by discount_id

)

select
    amounts.line_id,
    amounts.minor_amount,
    amounts.line_minor_amount,
    -- Of a discount whose coupon was deleted before it was loaded, nobody knows the duration. If
    -- it is on several invoices, it recurs.
    coalesce(discounts.is_recurring, uses.invoice_count > 1) as is_recurring,
    coalesce(discounts.minor_amount_off is not null, false) as is_fixed,
    if(discounts.duration = 'repeating', discounts.ends_at, null) as ends_at
from amounts
inner join uses on amounts.discount_id = uses.discount_id
left join {{ ref('int_stripe__discounts') }} as discounts on amounts.discount_id = discounts.id
