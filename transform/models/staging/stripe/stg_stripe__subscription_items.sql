with source as (

    select
        * except (currency),
        coalesce(currency, price_currency) as currency
    from {{ ref('int_stripe__current_subscription_items') }}

),

renamed as (

    select
        ---------- ids
        id,
        subscription as subscription_id,
        price_id as plan_id,
        product_id,

        ---------- text
        price_name as plan_name,
        upper(currency) as currency,
        billing_interval,

        ---------- numbers
        interval_count,
        quantity,
        {{ from_minor_units('minor_unit_amount', 'currency') }} as unit_amount,
        {{
            annual_amount(
                from_minor_units('if(is_metered, null, minor_period_amount)', 'currency'),
                'billing_interval', 'interval_count'
            )
        }} as annual_amount,

        ---------- booleans
        is_metered,

        ---------- timestamps
        current_period_start as current_period_started_at,
        current_period_end as current_period_ends_at,
        created as created_at

    from source

)

select *
from renamed
