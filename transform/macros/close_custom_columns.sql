{#-
    The columns of a model that hold custom fields of Close: those with `close_custom_field` in their meta.
    They are known once dbt executes, and to no linter.
-#}
{% macro close_custom_columns(model_name) -%}
    {%- set found = [] -%}
    {%- if execute and graph is mapping -%}
        {%- for node in graph.nodes.values() if node.resource_type == "model" and node.name == model_name -%}
            {%- for column in node.columns.values() if column.config.meta.close_custom_field -%}
                {%- do found.append({
                    "name": column.name,
                    "data_type": column.data_type,
                    "field": column.config.meta.close_custom_field,
                }) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(found) }}
{%- endmacro %}

{#- The value of such a column, in its type, from the fields of a lead. An aggregate, for use with `group by`. -#}
{% macro close_custom_value(column, field_name, field_value) -%}
    {%- set field = column.field | replace("\\", "\\\\") | replace("'", "\\'") -%}
    {%- set text = "max(if(" ~ field_name ~ " = '" ~ field ~ "', " ~ field_value ~ ", null))" -%}
    {%- if column.data_type == "string" -%} {{ text }}
    {%- elif column.data_type == "bool" -%}
        case
            when lower({{ text }}) in ('yes', 'true', '1') then true
            when lower({{ text }}) in ('no', 'false', '0') then false
        end
    {%- elif column.data_type == "int64" -%} lax_int64(to_json({{ text }}))
    {%- elif column.data_type == "date" -%} {{ written_day(text) }}
    {%- else -%} safe_cast({{ text }} as {{ column.data_type }})
    {%- endif -%}
{%- endmacro %}
