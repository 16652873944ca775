{#-
    What an amount for each billing interval comes to in a year; MRR is a twelfth of it. A year and
    not a month, since a year's price has no exact twelfth: divide once, after adding up. Null for an
    interval of nothing.
-#}
{% macro annual_amount(amount, interval, interval_count) -%}
    cast(
        safe_divide(({{ amount }}) * case {{ interval }}
            when 'year' then numeric '1'
            when 'month' then numeric '12'
            when 'week' then numeric '365' / 7
            when 'day' then numeric '365'
        end, {{ interval_count }}) as numeric
    )
{%- endmacro %}
