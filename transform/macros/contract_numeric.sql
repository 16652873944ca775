{#-
    A NUMERIC value as a mart's contract can declare it: BIGNUMERIC. In a contract, dbt warns about NUMERIC
    without a precision, and BigQuery refuses NUMERIC with one.
-#}
{% macro contract_numeric(value) -%}
    cast({{ value }} as bignumeric)
{%- endmacro %}
