{#-
    An amount of an invoice line, in minor units, without the tax that it includes: by the rate, rounded as Stripe
    rounds the tax, or else by what the tax of the line is to its amount after discounts.
-#}
{% macro without_tax(amount) -%}
    cast(
        case
            when minor_inclusive_tax_amount = 0 and coalesce(included_tax_percentage, 0) = 0
                then {{ amount }}
            when included_tax_percentage is not null
                then round({{ amount }} * 100 / (100 + included_tax_percentage))
            else coalesce(
                safe_divide({{ amount }} * minor_net_amount, minor_discounted_amount), {{ amount }}
            )
        end as numeric
    )
{%- endmacro %}
