{#-
    A raw table, as src_<source>.yml declares it. Overrides dbt's own source():
    https://docs.getdbt.com/reference/dbt-jinja-functions/builtins

    - A missing column (dropped as personal data, say) is null, in its declared type.
    - A missing table is an error, since its dataset may be mistyped. Where `config.meta.optional` is true, on the
      source or the table, it is taken as empty: a source that has not been loaded yet breaks nothing.
-#}
{% macro source(source_name, table_name) -%}
    {%- set relation = builtins.source(source_name, table_name) -%}
    {%- if not execute or relation.is_cte -%} {{ return(relation) }} {%- endif -%}
    {%- set table = graph.sources.values()
        | selectattr("source_name", "equalto", source_name)
        | selectattr("name", "equalto", table_name) | first -%}
    {%- set columns = typed_columns(table) -%}
    {%- if not columns -%} {{ return(relation) }} {%- endif -%}
    {%- set tables = raw_columns(relation.database, relation.schema) -%}
    {%- set present = tables.get(relation.identifier) -%}
    {%- if not present and table.config.meta.optional -%}
        {%- do log(relation ~ " is missing: taken as empty", info=true) -%}
        {{ return(nothing(columns)) }}
    {%- elif not present -%}
        {%- do exceptions.raise_compiler_error(
            "Source '" ~ source_name ~ "' has no table '" ~ relation.identifier ~ "' in the dataset '"
            ~ relation.database ~ "." ~ relation.schema ~ "', "
            ~ ("which has: " ~ tables | sort | join(", ") if tables else "which is missing or empty")
            ~ ". Load it (`meltano run " ~ source_name ~ "-daily`), or correct `schema` in "
            ~ table.original_file_path ~ ", or set `config: {meta: {optional: true}}` there to take it as empty."
        ) -%}
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

{#-
    The names of the columns of each table in a dataset. Asks BigQuery once a dataset and run: the answer is kept
    in `graph`, which is the same object for all nodes of a run.
-#}
{% macro raw_columns(database, schema) -%}
    {%- set kept = graph.setdefault("raw_columns", {}) -%}
    {%- set dataset = database ~ "." ~ schema -%}
    {%- if dataset not in kept -%}
        {%- set tables = {} -%}
        {%- if adapter.check_schema_exists(database, schema) -%}
            {%- for table_name, column_name in run_query(
                "select table_name, column_name from `" ~ database ~ "`.`" ~ schema ~ "`.INFORMATION_SCHEMA.COLUMNS"
            ).rows -%}
                {%- do tables.setdefault(table_name, []).append(column_name) -%}
            {%- endfor -%}
        {%- endif -%}
        {%- do kept.update({dataset: tables}) -%}
    {%- endif -%}
    {{ return(kept[dataset]) }}
{%- endmacro %}

{#-
    Read the columns of all datasets that a run needs before its models compile, which they do in several threads
    at once.
-#}
{% macro read_raw_columns() -%}
    {%- if not execute -%} {{ return("") }} {%- endif -%}
    {%- for unique_id in selected_resources if unique_id in graph.nodes -%}
        {%- for upstream in relations_read_by(graph.nodes[unique_id]) if upstream in graph.sources -%}
            {%- set table = graph.sources[upstream] -%}
            {%- do raw_columns(table.database, table.schema) -%}
        {%- endfor -%}
    {%- endfor -%}
{%- endmacro %}
