{#-
    The rules of a model's own rows in one query. `unique`, `not_null` and `accepted_values` would be one query per
    column, and BigQuery bills at least 10 MB a query and table. Each row of the result names the column, the problem,
    the value, the row's key and the number of rows.

    Args:
        key: the column that identifies a row. It is never null, and unique.
        not_null: other columns that are never null.
        accepted_values: by the name of a text column, its accepted values. Null is accepted too.
-#}
{% test integrity(model, key, not_null=[], accepted_values={}) %}
{%- set rules = [] -%}
{%- for column in not_null -%}
    {%- do rules.append((column, "null", "cast(null as string)", column ~ " is null")) -%}
{%- endfor -%}
{%- for column, values in accepted_values.items() -%}
    {%- do rules.append(
        (column, "not an accepted value", column, column ~ " not in ('" ~ values | join("', '") ~ "')")
    ) -%}
{%- endfor %}

with keys as (

    select
        {{ key }} as row_key,
        {%- for column, problem, value, is_broken in rules %}
        countif({{ is_broken }}) as row_count_{{ loop.index }},
        max(if({{ is_broken }}, {{ value }}, null)) as value_{{ loop.index }},
        {%- endfor %}
        count(*) as row_count
    from {{ model }}
    group by 1

)

select
    broken.column_name,
    broken.problem,
    broken.value,
    safe_cast(keys.row_key as string) as row_key,
    broken.row_count
from keys
cross join
    unnest([
        struct(
            '{{ key }}' as column_name,
            if(keys.row_key is null, 'null', 'not unique') as problem,
            safe_cast(keys.row_key as string) as value,
            if(keys.row_key is null or keys.row_count > 1, keys.row_count, 0) as row_count
        )
        {%- for column, problem, value, is_broken in rules %},
        struct(
            '{{ column }}' as column_name,
            '{{ problem }}' as problem,
            keys.value_{{ loop.index }} as value,
            keys.row_count_{{ loop.index }} as row_count
        )
        {%- endfor %}
    ]) as broken
where broken.row_count > 0

{% endtest %}
