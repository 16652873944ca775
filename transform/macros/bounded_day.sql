{#-
    A day between the first day of 2000 and today. An earlier day counts as the first of 2000, a later one as today.
    So a wrong date, such as year 1 (Go's zero time), 1970 or 9999, makes no more rows and partitions than BigQuery
    accepts: 4,000 partitions a job, 10,000 a table. The test `possible_times` names the rows with such dates.
    https://cloud.google.com/bigquery/quotas#partitioned_tables
-#}
{% macro bounded_day(day) -%}
    least(greatest({{ day }}, {{ first_day() }}), {{ today() }})
{%- endmacro %}

{#- No record of a start-up is older. -#}
{% macro first_day() -%}
    date '2000-01-01'
{%- endmacro %}
