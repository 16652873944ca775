with source as (

    select *
    from {{ source('stripe', 'plans') }}
    where _sdc_deleted_at is null

),

extracted as (

    select
        *,
        coalesce(
            safe_cast(amount_decimal as numeric), cast(amount as numeric)
        ) as minor_unit_amount
    from source

),

renamed as (

    select
        ---------- ids
        id,
        product as product_id,

        ---------- text
        nickname as name,
        billing_scheme,
        upper(currency) as currency,
        `interval` as billing_interval,

        ---------- numbers
        interval_count,
        {{ from_minor_units('minor_unit_amount', 'currency') }} as unit_amount,
        {{
            annual_amount(
                from_minor_units('minor_unit_amount', 'currency'), '`interval`', 'interval_count'
            )
        }} as annual_unit_amount,

        ---------- booleans
        active and coalesce(updated_by_event_type, '') != 'plan.deleted' as is_active,
        coalesce(updated_by_event_type, '') = 'plan.deleted' as is_deleted,

        ---------- timestamps
        created as created_at,
        updated as updated_at

    from extracted

)

select *
from renamed
