{#-
    What has to hold of a model's own rows, in one query, where `unique`, `not_null` and `accepted_values` are
    a query for each column: BigQuery bills 10 MB a query and table, however small the table is. What comes
    back says which column, what is wrong with it, the value, whose it is, and in how many rows.

    Args:
        key: the column that identifies a row: never null, and never twice the same.
        not_null: other columns that are never null.
        accepted_values: by the name of a text column, the values that it may have besides null.
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
