{#- One text key out of several text columns, none of them null. -#}
{% macro surrogate_key(columns) -%}
    to_hex(md5(concat({{ columns | join(", '/', ") }})))
{%- endmacro %}
