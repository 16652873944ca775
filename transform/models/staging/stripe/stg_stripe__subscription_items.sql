with source as (

    select *
    from {{ ref('int_stripe__current_subscription_items') }}

),

extracted as (

    select
        *,
        json_value(plan, '$.id') as plan_id,
        json_value(plan, '$.product') as product_id,
        json_value(plan, '$.nickname') as plan_name,
        upper(json_value(plan, '$.currency')) as currency,
        json_value(plan, '$.interval') as billing_interval,
        lax_int64(json_query(plan, '$.interval_count')) as interval_count,
        coalesce(
            safe_cast(json_value(price, '$.unit_amount_decimal') as numeric),
            safe_cast(json_value(plan, '$.amount') as numeric)
        ) as minor_unit_amount
    from source

),

renamed as (

    select
        ---------- ids
        id,
        subscription as subscription_id,
        plan_id,
        product_id,

        ---------- text
        plan_name,
        currency,
        billing_interval,

        ---------- numbers
        interval_count,
        quantity,
        {{ from_minor_units('minor_unit_amount', 'currency') }} as unit_amount,
        {{
            annual_amount(
                from_minor_units('safe_multiply(minor_unit_amount, quantity)', 'currency'),
                'billing_interval', 'interval_count'
            )
        }} as annual_amount,

        ---------- timestamps
        created as created_at

    from extracted

)

select *
from renamed
