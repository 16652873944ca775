with prices as (

    select
        id,
        product,
        nickname,
        type,
        billing_scheme,
        currency,
        json_value(recurring, '$.interval') as billing_interval,
        lax_int64(json_query(recurring, '$.interval_count')) as interval_count,
        json_value(recurring, '$.usage_type') as usage_type,
        coalesce(
            safe_cast(unit_amount_decimal as numeric), cast(unit_amount as numeric)
        ) as minor_unit_amount,
        tiers,
        tiers_mode,
        lax_int64(json_query(transform_quantity, '$.divide_by')) as package_size,
        json_value(transform_quantity, '$.round') as package_rounding,
        tax_behavior,
        active,
        _sdc_deleted_at is not null as is_deleted,
        created,
        cast(null as timestamp) as updated
    from {{ source('stripe', 'prices') }}

),

-- What tap-stripe loaded as plans. A plan's price has the same id.
plans as (

    select
        id,
        product,
        nickname,
        'recurring' as type,
        billing_scheme,
        currency,
        `interval` as billing_interval,
        interval_count,
        usage_type,
        coalesce(
            safe_cast(amount_decimal as numeric), cast(amount as numeric)
        ) as minor_unit_amount,
        tiers,
        tiers_mode,
        lax_int64(json_query(transform_usage, '$.divide_by')) as package_size,
        json_value(transform_usage, '$.round') as package_rounding,
        cast(null as string) as tax_behavior,
        active,
        coalesce(updated_by_event_type, '') = 'plan.deleted' as is_deleted,
        created,
        updated
    from {{ source('stripe', 'plans') }}
    where _sdc_deleted_at is null

),

-- A plan could be deleted although somebody has it. Its item still says what it costs, without
-- tiers.
of_items as (

    select
        json_value(price, '$.id') as id,
        json_value(price, '$.product') as product,
        json_value(price, '$.nickname') as nickname,
        json_value(price, '$.type') as type,
        json_value(price, '$.billing_scheme') as billing_scheme,
        json_value(price, '$.currency') as currency,
        json_value(price, '$.recurring.interval') as billing_interval,
        lax_int64(json_query(price, '$.recurring.interval_count')) as interval_count,
        json_value(price, '$.recurring.usage_type') as usage_type,
        coalesce(
            safe_cast(json_value(price, '$.unit_amount_decimal') as numeric),
            safe_cast(json_value(price, '$.unit_amount') as numeric)
        ) as minor_unit_amount,
        parse_json(cast(null as string)) as tiers,
        json_value(price, '$.tiers_mode') as tiers_mode,
        lax_int64(json_query(price, '$.transform_quantity.divide_by')) as package_size,
        json_value(price, '$.transform_quantity.round') as package_rounding,
        json_value(price, '$.tax_behavior') as tax_behavior,
        false as active,
        true as is_deleted,
        {{ json_timestamp('price', '$.created') }} as created,
        cast(null as timestamp) as updated
    from {{ source('stripe', 'subscription_items') }}
    where json_value(price, '$.id') is not null
    qualify row_number() over (partition by json_value(price, '$.id') order by id) = 1

)

select *
from prices

union all

select plans.*
from plans
left join prices on plans.id = prices.id
where prices.id is null

union all

select of_items.*
from of_items
left join prices on of_items.id = prices.id
left join plans on of_items.id = plans.id
where prices.id is null and plans.id is null
