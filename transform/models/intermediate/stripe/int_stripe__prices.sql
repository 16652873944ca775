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

)

select *
from prices

union all

select plans.*
from plans
left join prices on plans.id = prices.id
where prices.id is null
