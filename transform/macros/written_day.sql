{#-
    The day at the beginning of a text that is a date or a date with a time. The day is taken as written, whatever
    the time zone. SAFE_CAST to DATE would return null for a text with a time.
-#}
{% macro written_day(text) -%}
    safe_cast(regexp_extract({{ text }}, r'^(\d{4}-\d{2}-\d{2})(?:$|[T ]\d{2}:)') as date)
{%- endmacro %}
