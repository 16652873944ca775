with source as (

    select *
    from {{ ref('int_stripe__prices') }}

),

renamed as (

    select
        ---------- ids
        id,
        product as product_id,

        ---------- text
        nickname as name,
        type,
        billing_scheme,
        tiers_mode,
        to_json_string(tiers) as tiers,
        tax_behavior,
        upper(currency) as currency,
        billing_interval,
        package_rounding,

        ---------- numbers
        interval_count,
        package_size,
        {{ from_minor_units('minor_unit_amount', 'currency') }} as unit_amount,
        {{
            annual_amount(
                from_minor_units('minor_unit_amount', 'currency'),
                'billing_interval', 'interval_count'
            )
        }} as annual_unit_amount,

        ---------- booleans
        coalesce(usage_type, '') = 'metered' as is_metered,
        active and not is_deleted as is_active,
        is_deleted,

        ---------- timestamps
        created as created_at,
        updated as updated_at

    from source

)

select *
from renamed
