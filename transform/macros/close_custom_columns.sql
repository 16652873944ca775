{#-
    The columns of a model that are made of custom fields of Close: those whose meta has
    `close_custom_field`. Which they are is known once dbt executes, and to no linter.
-#}
{% macro close_custom_columns(model) -%}
    {%- set columns = [] -%}
    {%- if execute and model is mapping -%}
        {%- for column in model.columns.values() if column.config.meta.close_custom_field -%}
            {%- do columns.append({
                "name": column.name,
                "data_type": column.data_type,
                "field": column.config.meta.close_custom_field,
            }) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(columns) }}
{%- endmacro %}

{#- Such a column's value out of a lead's fields, in the column's type; inside a `group by`. -#}
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
