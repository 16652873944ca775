with source as (

    select *
    from {{ source('stripe', 'coupons') }}

),

renamed as (

    select
        ---------- ids
        id,

        ---------- text
        name,
        duration,
        upper(currency) as currency,

        ---------- numbers
        safe_cast(percent_off as numeric) as percent_off,
        {{ from_minor_units('amount_off', 'currency') }} as amount_off,
        duration_in_months,
        max_redemptions,
        times_redeemed,

        ---------- booleans
        valid and _sdc_deleted_at is null as is_valid,
        _sdc_deleted_at is not null as is_deleted,

        ---------- timestamps
        redeem_by as redeem_until,
        created as created_at

    from source

)

select *
from renamed
