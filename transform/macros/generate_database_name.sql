{#- Every model goes to the target's project, as generate_schema_name puts it in the target's dataset. -#}
{% macro generate_database_name(custom_database_name, node) -%}
    {{ target.database }}
{%- endmacro %}
