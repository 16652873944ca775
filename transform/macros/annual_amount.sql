{#-
    The amount for a year of an amount for each billing interval. MRR is a twelfth of it. The year is used because a
    year's price has no exact twelfth: add up first, then divide once. Null for an interval of 0.
-#}
{% macro annual_amount(amount, interval, interval_count) -%}
    cast(
        safe_divide(({{ amount }}) * case {{ interval }}
            when 'year' then numeric '1'
            when 'month' then numeric '12'
            when 'week' then numeric '365'
            when 'day' then numeric '365'
        end, {{ interval_count }} * if({{ interval }} = 'week', 7, 1)) as numeric
    )
{%- endmacro %}
