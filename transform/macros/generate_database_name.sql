{#- Nor to another project than the target's. -#}
{% macro generate_database_name(custom_database_name, node) -%}
    {{ target.database }}
{%- endmacro %}
