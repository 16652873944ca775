{#-
    A day from 2000 on that isn't later than today: an earlier one counts as the first of 2000, a later one
    as today. So a wrong date, such as year 1 (Go's zero time), 1970 or 9999, makes no more rows and
    partitions than BigQuery takes: 4,000 partitions a job, 10,000 a table. Which rows have one, the test
    `possible_times` says.
    https://cloud.google.com/bigquery/quotas#partitioned_tables
-#}
{% macro bounded_day(day) -%}
    least(greatest({{ day }}, {{ first_day() }}), {{ today() }})
{%- endmacro %}

{#- No start-up's records begin before. -#}
{% macro first_day() -%}
    date '2000-01-01'
{%- endmacro %}
