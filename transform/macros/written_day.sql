{#-
    The day that a text begins with, a date or a date with a time: the day as it is written there, in
    whatever zone. SAFE_CAST to DATE is null of a text that has a time.
-#}
{% macro written_day(text) -%}
    safe_cast(regexp_extract({{ text }}, r'^(\d{4}-\d{2}-\d{2})(?:$|[T ]\d{2}:)') as date)
{%- endmacro %}
