with source as (

    select *
    from {{ source('stripe', 'invoice_items') }}
    where _sdc_deleted_at is null

),

-- Nothing reports that an item went onto an invoice. The line does.
lines as (

    select
        coalesce(
            invoice_item,
            json_value(parent, '$.invoice_item_details.invoice_item'),
            json_value(parent, '$.subscription_item_details.invoice_item')
        ) as invoice_item_id,
        max(invoice) as invoice_id
    from {{ source('stripe', 'invoice_line_items') }}
    where _sdc_deleted_at is null
    group by invoice_item_id

),

extracted as (

    select
        source.*,
        coalesce(source.invoice, lines.invoice_id) as invoice_id,
        coalesce(
            source.subscription, json_value(source.parent, '$.subscription_details.subscription')
        ) as subscription_id,
        coalesce(
            source.subscription_item,
            json_value(source.parent, '$.subscription_details.subscription_item')
        ) as subscription_item_id,
        json_value(source.proration_details, '$.credited_items.type')
        is not null as has_credited_items,
        coalesce(
            json_value(source.plan, '$.id'), json_value(source.pricing, '$.price_details.price')
        ) as price_id,
        parse_json(cast(null as string)) as price,
        coalesce(
            safe_cast(json_value(source.pricing, '$.unit_amount_decimal') as numeric),
            safe_cast(source.unit_amount_decimal as numeric),
            cast(source.unit_amount as numeric)
        ) as stated_unit_amount
    from source
    left join lines on source.id = lines.invoice_item_id

)

{{ with_price_terms('extracted') }}
