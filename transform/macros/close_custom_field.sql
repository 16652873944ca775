{#-
    The value of the custom field of Close that a column names in its `close_custom_field`, in the
    column's own type; inside a `group by` of the lead.
-#}
{% macro close_custom_field(column, field_name, field_value) -%}
    {%- set name = column.config.meta.close_custom_field | replace("\\", "\\\\") | replace("'", "\\'") -%}
    {%- set text = "max(if(" ~ field_name ~ " = '" ~ name ~ "', " ~ field_value ~ ", null))" -%}
    {%- if column.data_type == "string" -%} {{ text }}
    {%- elif column.data_type == "bool" -%} lower({{ text }}) in ('yes', 'true')
    {%- else -%} safe_cast({{ text }} as {{ column.data_type }})
    {%- endif -%}
{%- endmacro %}
