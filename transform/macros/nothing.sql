{#- No rows, with the columns and types that a YAML file declares. -#}
{% macro nothing(columns) -%}
    (
        select
            {%- for column in columns %}
            {{ null_of(column.data_type) }} as `{{ column.name }}`{{ "," if not loop.last }}
            {%- endfor %}
        limit 0
    )
{%- endmacro %}

{#- A null of a type. Nothing can be cast to JSON. -#}
{% macro null_of(data_type) -%}
    {%- if data_type == "json" -%} parse_json(cast(null as string))
    {%- else -%} cast(null as {{ data_type }})
    {%- endif -%}
{%- endmacro %}

{#- The columns that a YAML file declares, or none if one of them has no type. -#}
{% macro typed_columns(node) -%}
    {%- set columns = node.columns.values() | list -%}
    {{ return(columns if columns | rejectattr("data_type") | list == [] else []) }}
{%- endmacro %}
