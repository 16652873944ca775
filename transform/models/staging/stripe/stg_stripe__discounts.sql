with source as (

    select *
    from {{ ref('int_stripe__discounts') }}

),

renamed as (

    select
        ---------- ids
        id,
        coupon_id,
        customer as customer_id,
        subscription as subscription_id,
        subscription_item as subscription_item_id,
        invoice as invoice_id,
        promotion_code as promotion_code_id,

        ---------- text
        duration,
        upper(currency) as currency,

        ---------- numbers
        percent_off,
        {{ from_minor_units('minor_amount_off', 'currency') }} as amount_off,

        ---------- booleans
        coalesce(is_recurring, false) as is_recurring,

        ---------- timestamps
        started_at,
        ends_at

    from source

)

select *
from renamed
