{#-
    How dbt casts the values of a unit test's fixtures. dbt-bigquery 1.11 casts text and lists to JSON, which BigQuery
    refuses: STRING and ARRAY can't be cast to JSON. Here they are parsed instead. All other types are cast as
    dbt-bigquery does.
    https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_functions#cast
-#}
{% macro bigquery__safe_cast(field, type) -%}
    {%- if type | lower != "json" -%}
        {{- return(dbt.bigquery__safe_cast(field, type)) -}}
    {%- endif -%}
    {#- A string is a SQL literal already, or the word null. -#}
    {%- if field is not string -%}
        {%- set field = dbt.string_literal(tojson(field) | replace("\\", "\\\\") | replace("'", "\\'")) -%}
    {%- endif -%}
    parse_json({{ field }}, wide_number_mode => 'round')
{%- endmacro %}
