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
                then div({{ quantity }} + {{ package_size }} - 1, {{ package_size }})
            when {{ package_size }} > 0 then div({{ quantity }}, {{ package_size }})
            else {{ quantity }}
        end
    )
{%- endmacro %}
