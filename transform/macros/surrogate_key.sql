{#-
    One text key out of several text columns, none of them null.

    The values are joined by `/`. In all but the last value, each `/` and backslash is escaped with a backslash, so
    that ('a', 'b/c') and ('a/b', 'c') have different keys.
-#}
{% macro surrogate_key(columns) -%}
    to_hex(md5(concat(
        {%- for column in columns[:-1] %}replace(replace({{ column }}, '\\', '\\\\'), '/', '\\/'), '/', {% endfor -%}
        {{ columns[-1] }})))
{%- endmacro %}
