{#-
    Timestamps at which nothing can have happened: before 2000 (year 1 or 1970 where the time isn't known), or later
    than tomorrow. Marts bound them with `bounded_day`. This test names the rows.

    Args:
        key: the column that identifies a row.
        columns: timestamps of past events.
-#}
{% test possible_times(model, key, columns) %}

with happened as (

    select
        {{ key }} as row_key,
        {%- for column in columns %}
        {{ column }} as value_{{ loop.index }},
        {%- endfor %}
    from {{ model }}

)

select
    time.column_name,
    if(time.value < timestamp({{ first_day() }}), 'before 2000', 'in the future') as problem,
    cast(time.value as string) as value,
    safe_cast(happened.row_key as string) as row_key
from happened
cross join
    unnest([
        {%- for column in columns %}
        struct('{{ column }}' as column_name, happened.value_{{ loop.index }} as value)
        {{- "," if not loop.last }}
        {%- endfor %}
    ]) as time
where
    time.value < timestamp({{ first_day() }})
    or time.value >= timestamp(date_add({{ today() }}, interval 2 day))

{% endtest %}
