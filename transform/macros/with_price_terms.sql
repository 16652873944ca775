{#-
    The rows of a query, each with the terms of its price: how often it is billed, for what, and what its quantity
    costs for a whole period. What an old row says of its price itself takes precedence.

    Args:
        given: the name of a query with the columns `id`, `price_id`, `quantity`, `currency` (null if it is the
            price's), `plan` and `price` (JSON, null in rows that say only the price's id) and `stated_unit_amount`
            (minor units, null if unknown).

    Adds:
        product_id, price_name, price_currency, billing_interval, interval_count, is_metered, is_tiered,
        minor_unit_amount, minor_period_amount (null if the tiers aren't known). A price may have amounts in several
        currencies. Only those in its first one are loaded; in another one, only a stated amount is known.
-#}
{% macro with_price_terms(given) -%}
{%- set price_currency -%}
    coalesce(prices.currency, json_value(given.price, '$.currency'), json_value(given.plan, '$.currency'))
{%- endset -%}
select
    terms.*,
    if(
        terms.is_tiered,
        if(terms.is_in_price_currency, tiered.minor_amount, null),
        {{ period_amount(
            'terms.minor_unit_amount', 'coalesce(terms.quantity, 1)', 'terms.package_size', 'terms.package_rounding'
        ) }}
    ) as minor_period_amount
from (
    select
        given.*,
        coalesce(
            prices.product, json_value(given.price, '$.product'), json_value(given.plan, '$.product')
        ) as product_id,
        coalesce(
            prices.nickname, json_value(given.price, '$.nickname'), json_value(given.plan, '$.nickname')
        ) as price_name,
        {{ price_currency }} as price_currency,
        coalesce(given.currency = {{ price_currency }}, true) as is_in_price_currency,
        coalesce(
            json_value(given.plan, '$.interval'),
            json_value(given.price, '$.recurring.interval'),
            prices.billing_interval
        ) as billing_interval,
        coalesce(
            lax_int64(json_query(given.plan, '$.interval_count')),
            lax_int64(json_query(given.price, '$.recurring.interval_count')),
            prices.interval_count
        ) as interval_count,
        coalesce(
            json_value(given.plan, '$.usage_type'),
            json_value(given.price, '$.recurring.usage_type'),
            prices.usage_type,
            ''
        ) = 'metered' as is_metered,
        coalesce(
            json_value(given.plan, '$.billing_scheme'),
            json_value(given.price, '$.billing_scheme'),
            prices.billing_scheme,
            ''
        ) = 'tiered' as is_tiered,
        coalesce(
            given.stated_unit_amount,
            if(
                given.currency != {{ price_currency }},
                null,
                coalesce(
                    safe_cast(json_value(given.price, '$.unit_amount_decimal') as numeric),
                    safe_cast(json_value(given.plan, '$.amount') as numeric),
                    prices.minor_unit_amount
                )
            )
        ) as minor_unit_amount,
        coalesce(
            prices.package_size,
            lax_int64(json_query(given.price, '$.transform_quantity.divide_by')),
            lax_int64(json_query(given.plan, '$.transform_usage.divide_by'))
        ) as package_size,
        coalesce(
            prices.package_rounding,
            json_value(given.price, '$.transform_quantity.round'),
            json_value(given.plan, '$.transform_usage.round')
        ) as package_rounding
    from {{ given }} as given
    left join {{ ref('int_stripe__prices') }} as prices on given.price_id = prices.id
) as terms
left join (
    select
        given.id,
        sum(
            case
                -- The whole quantity costs what its tier says.
                when
                    tiers.tiers_mode = 'volume'
                    and coalesce(given.quantity <= tiers.up_to, true)
                    and (given.quantity > tiers.above or tiers.above = 0)
                    then safe_multiply(tiers.minor_unit_amount, given.quantity) + tiers.minor_flat_amount
                -- Each tier's share of the quantity costs what the tier says.
                when
                    tiers.tiers_mode = 'graduated'
                    and (given.quantity > tiers.above or tiers.above = 0)
                    then
                        safe_multiply(
                            tiers.minor_unit_amount,
                            least(given.quantity, coalesce(tiers.up_to, given.quantity)) - tiers.above
                        ) + tiers.minor_flat_amount
            end
        ) as minor_amount
    from {{ given }} as given
    inner join {{ ref('int_stripe__price_tiers') }} as tiers on given.price_id = tiers.price_id
    group by given.id
) as tiered on terms.id = tiered.id
{%- endmacro %}
