with source as (

    select *
    from {{ source('stripe', 'invoice_line_items') }}
    where _sdc_deleted_at is null

),

invoices as (

    select
        id,
        created,
        json_value_array(`lines`) as line_ids,
        api_version,
        as_of
    from {{ source('stripe', 'invoices') }}
    where _sdc_deleted_at is null and coalesce(updated_by_event_type, '') != 'invoice.deleted'

),

current_lines as (

    select
        source.*,
        invoices.created as invoiced_at,
        -- The other one is null, and a null of JSON is a value.
        if(
            json_type(json_query(source.parent, '$.subscription_item_details')) = 'object',
            json_query(source.parent, '$.subscription_item_details'),
            json_query(source.parent, '$.invoice_item_details')
        ) as parent_details
    from source
    inner join invoices on source.invoice = invoices.id
    where {{ is_current_part('source', 'invoices', 'invoices.line_ids') }}

),

line_taxes as (

    select
        current_lines.id,
        safe_cast(json_value(tax, '$.amount') as numeric) as minor_amount,
        coalesce(
            json_value(tax, '$.tax_behavior') = 'inclusive',
            json_value(tax, '$.inclusive') = 'true',
            false
        )
        -- Then the price is the same, and all of it is revenue.
        and coalesce(
            json_value(tax, '$.taxability_reason') not in (
                'customer_exempt', 'not_collecting', 'not_subject_to_tax', 'not_supported',
                'product_exempt', 'product_exempt_holiday', 'reverse_charge', 'zero_rated'
            ),
            true
        ) as is_inclusive,
        coalesce(
            json_value(tax, '$.tax_rate_details.tax_rate'), json_value(tax, '$.tax_rate')
        ) as tax_rate_id
    from current_lines
    cross join
        unnest(
            json_query_array(
                if(
                    current_lines.api_version is null,
                    current_lines.tax_amounts,
                    current_lines.taxes
                )
            )
        ) as tax

),

taxes as (

    select
        line_taxes.id,
        sum(line_taxes.minor_amount) as minor_tax_amount,
        sum(if(line_taxes.is_inclusive, line_taxes.minor_amount, 0)) as minor_inclusive_tax_amount,
        if(
            countif(line_taxes.is_inclusive and tax_rates.percentage is null) = 0,
            sum(if(line_taxes.is_inclusive, safe_cast(tax_rates.percentage as numeric), 0)),
            null
        ) as included_tax_percentage
    from line_taxes
    left join {{ source('stripe', 'tax_rates') }} as tax_rates
        on line_taxes.tax_rate_id = tax_rates.id
    group by line_taxes.id

),

discounts as (

    select
        line_id,
        sum(minor_amount) as minor_discount_amount,
        sum(if(is_recurring, minor_amount, 0)) as minor_recurring_discount_amount
    from {{ ref('int_stripe__line_discounts') }}
    group by line_id

),

extracted as (

    select
        current_lines.* except (proration),
        coalesce(
            current_lines.subscription, json_value(current_lines.parent_details, '$.subscription')
        ) as subscription_id,
        coalesce(
            current_lines.subscription_item,
            json_value(current_lines.parent_details, '$.subscription_item')
        ) as subscription_item_id,
        coalesce(
            current_lines.invoice_item, json_value(current_lines.parent_details, '$.invoice_item')
        ) as invoice_item_id,
        coalesce(
            current_lines.proration,
            json_value(current_lines.parent_details, '$.proration') = 'true',
            false
        ) as is_proration,
        coalesce(
            json_value(current_lines.proration_details, '$.credited_items.invoice'),
            json_value(current_lines.parent_details, '$.proration_details.credited_items.invoice')
        ) is not null as has_credited_items,
        coalesce(
            json_value(current_lines.plan, '$.id'),
            json_value(current_lines.price, '$.id'),
            json_value(current_lines.pricing, '$.price_details.price')
        ) as price_id,
        safe_cast(
            json_value(current_lines.pricing, '$.unit_amount_decimal') as numeric
        ) as stated_unit_amount,
        coalesce(taxes.minor_tax_amount, 0) as minor_tax_amount,
        coalesce(taxes.minor_inclusive_tax_amount, 0) as minor_inclusive_tax_amount,
        taxes.included_tax_percentage,
        coalesce(discounts.minor_discount_amount, 0) as minor_discount_amount,
        coalesce(discounts.minor_recurring_discount_amount, 0) as minor_recurring_discount_amount
    from current_lines
    left join taxes on current_lines.id = taxes.id
    left join discounts on current_lines.id = discounts.line_id

)

{{ with_price_terms('extracted') }}
