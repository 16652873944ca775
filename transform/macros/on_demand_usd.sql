{#- What bytes cost in US dollars, at BigQuery's price on demand in the US: 6.25 a TiB, without the free one. -#}
{% macro on_demand_usd(bytes) -%}
    {{ bytes }} / pow(2, 40) * 6.25
{%- endmacro %}
