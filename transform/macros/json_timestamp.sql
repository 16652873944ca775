{#-
    The time at a path of a JSON column: text, or a number of seconds since 1970. Taps from PyPI write times inside
    objects as text; a manifest leaves them as the API sends them. Null where it is neither. The bounds are the years
    1 and 9999, because BigQuery fails outside of them.
-#}
{% macro json_timestamp(column, path) -%}
    {%- set value = "json_value(" ~ column ~ ", '" ~ path ~ "')" -%}
    coalesce(
        safe_cast({{ value }} as timestamp),
        if(
            safe_cast({{ value }} as int64) between -62135596800 and 253402300799,
            timestamp_seconds(safe_cast({{ value }} as int64)),
            null
        )
    )
{%- endmacro %}
