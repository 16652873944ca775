{#-
    What a quantity costs for one period, in minor units, by the terms of `int_stripe__prices`. A price for packages
    (`transform_quantity`) costs its unit amount for each package, begun or full. Tiers aren't computed here, but in
    `with_price_terms`.
-#}
{% macro period_amount(unit_amount, quantity, package_size, package_rounding) -%}
    safe_multiply(
        {{ unit_amount }},
        case
            when {{ package_size }} > 0 and {{ package_rounding }} = 'up'
                then cast(ceil(safe_divide({{ quantity }}, {{ package_size }})) as int64)
            when {{ package_size }} > 0
                then cast(floor(safe_divide({{ quantity }}, {{ package_size }})) as int64)
            else {{ quantity }}
        end
    )
{%- endmacro %}
