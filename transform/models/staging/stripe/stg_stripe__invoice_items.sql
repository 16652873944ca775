with source as (

    select
        *,
        coalesce(proration, false) as is_proration,
        -- A credit for unused time, also where that cost nothing.
        coalesce(proration, false) and (amount < 0 or has_credited_items) as is_credit
    from {{ ref('int_stripe__invoice_items_with_price') }}
    -- In the rows of tap-stripe, the last event says that an item was deleted.
    where coalesce(updated_by_event_type, '') != 'invoiceitem.deleted'

),

priced as (

    select
        *,
        -- If nobody knows the price, it is estimated.
        coalesce(
            minor_period_amount,
            if(
                is_proration,
                {{ whole_period_amount('amount', 'period', 'billing_interval', 'interval_count') }},
                null
            )
        ) as minor_price
    from source

),

renamed as (

    select
        ---------- ids
        id,
        customer as customer_id,
        invoice_id,
        subscription_id,
        subscription_item_id,
        price_id as plan_id,

        ---------- text
        description,
        upper(currency) as currency,

        ---------- numbers
        quantity,
        {{ from_minor_units('minor_unit_amount', 'currency') }} as unit_amount,
        {{ from_minor_units('amount', 'currency') }} as amount,
        {{
            annual_amount(
                from_minor_units(
                    "case when is_credit then numeric '0' when not is_metered then minor_price end",
                    'currency'
                ),
                'billing_interval', 'interval_count'
            )
        }} as annual_amount,

        ---------- booleans
        is_proration,
        is_credit,
        is_metered,
        invoice_id is null as is_pending,

        ---------- timestamps
        {{ json_timestamp('period', '$.start') }} as period_started_at,
        {{ json_timestamp('period', '$.end') }} as period_ends_at,
        date as created_at,
        if(api_version is null, updated, null) as updated_at

    from priced

)

select *
from renamed
