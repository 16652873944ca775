{#-
    How old the last load of each source may be, in hours: the shortest `warn_after` in its YAML file. One row a source
    that promises anything, by the name of its raw dataset.
-#}
{% macro freshness_promises() -%}
    {%- set hours = {} -%}
    {%- for table in (graph.sources.values() if execute else []) if table.freshness and table.freshness.warn_after.count -%}
        {%- set limit = table.freshness.warn_after -%}
        {%- set unit = {"minute": 1 / 60, "hour": 1, "day": 24}[limit.period | string] -%}
        {%- set promised = limit.count * unit -%}
        {%- do hours.update({table.schema: [promised, hours.get(table.schema, promised)] | min}) -%}
    {%- endfor -%}
    select
        source_id,
        cast(promised_hours as float64) as promised_hours
    from unnest([
        struct(cast(null as string) as source_id, cast(null as float64) as promised_hours)
        {%- for source_id, promised in hours.items() %},
        struct('{{ source_id }}' as source_id, {{ promised }} as promised_hours)
        {%- endfor %}
    ])
    where source_id is not null
{%- endmacro %}
