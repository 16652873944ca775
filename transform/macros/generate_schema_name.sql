{#- Every model goes to the target's one dataset, which is what Metabase shows. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ target.schema }}
{%- endmacro %}
