{#- Days are UTC. A macro, so that unit tests can set the date. -#}
{% macro today() -%}
    current_date('UTC')
{%- endmacro %}
