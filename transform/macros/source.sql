{#-
    A raw table. A source that has never been loaded breaks nothing: a table that isn't there has no
    rows, and a column that isn't there (dropped as personal data, say) is null. Which columns there
    should be is in src_<source>.yml. Overrides dbt's own source():
    https://docs.getdbt.com/reference/dbt-jinja-functions/builtins
-#}
{% macro source(source_name, table_name) -%}
    {%- set relation = builtins.source(source_name, table_name) -%}
    {%- if not execute or relation.is_cte -%} {{ return(relation) }} {%- endif -%}
    {%- set table = graph.sources.values()
        | selectattr("source_name", "equalto", source_name)
        | selectattr("name", "equalto", table_name) | first -%}
    {%- set columns = typed_columns(table) -%}
    {%- if not columns -%} {{ return(relation) }} {%- endif -%}
    {#- None at all where there is no table. -#}
    {%- set present = adapter.get_columns_in_relation(relation) | map(attribute="name") | list -%}
    {%- if not present -%}
        {%- do log(relation ~ " is not there: taken as empty", info=true) -%}
        {{ return(nothing(columns)) }}
    {%- endif -%}
    {%- set missing = columns | rejectattr("name", "in", present) | list -%}
    {%- if not missing -%} {{ return(relation) }} {%- endif -%}
    {%- do log(relation ~ " has no " ~ missing | map(attribute="name") | join(", "), info=true) -%}
    (
        select
            *,
            {%- for column in missing %}
            {{ null_of(column.data_type) }} as `{{ column.name }}`{{ "," if not loop.last }}
            {%- endfor %}
        from {{ relation }}
    )
{%- endmacro %}
