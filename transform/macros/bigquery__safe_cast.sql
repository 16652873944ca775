{#-
    How dbt casts the values of a unit test's fixtures. JSON is what dbt-bigquery 1.11 casts in a way that
    BigQuery refuses, when it is given as text or as a list: STRING and ARRAY can't be cast to JSON. Here it
    is parsed, whichever way it is given. All other types are cast as before.
    https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_functions#cast
-#}
{% macro bigquery__safe_cast(field, type) -%}
    {%- if type | lower != "json" -%}
        {{- return(dbt.bigquery__safe_cast(field, type)) -}}
    {%- endif -%}
    {#- A text is a literal, or the word null, already. -#}
    {%- if field is not string -%}
        {%- set field = dbt.string_literal(tojson(field) | replace("\\", "\\\\") | replace("'", "\\'")) -%}
    {%- endif -%}
    parse_json({{ field }}, wide_number_mode => 'round')
{%- endmacro %}
