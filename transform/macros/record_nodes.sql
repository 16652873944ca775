{#-
    Append to `ops.dbt_nodes` a row for each node of a run: how it ended, how long it took, what it billed. Runs at the
    end of every build in `prod` and `local`; builds of developers and pull requests aren't recorded. One statement,
    which reads no table and bills nothing. If it fails, the build is as good as before, and a line says so.
-#}
{% macro record_nodes(results) -%}
    {%- if not execute or not results or not is_recorded() -%} {{ return("") }} {%- endif -%}
    {%- set table = "`" ~ target.database ~ "`.`" ~ var("ops_dataset", "ops") ~ "`.`dbt_nodes`" -%}
    {%- set rows = [] -%}
    {%- for result in results -%}
        {%- set times = result.timing | selectattr("name", "equalto", "execute") | list -%}
        {%- set ended_at = times[0].completed_at if times else none -%}
        {%- do rows.append("(" ~ [
            text_literal(invocation_id),
            text_literal(result.node.unique_id),
            text_literal(result.node.name),
            text_literal(result.node.resource_type),
            text_literal(result.status),
            text_literal(result.message),
            result.execution_time,
            number_literal(result.adapter_response.get("rows_affected")),
            number_literal(result.adapter_response.get("bytes_billed")),
            number_literal(result.failures),
            "timestamp '" ~ (ended_at or run_started_at).strftime("%Y-%m-%d %H:%M:%S.%f") ~ "'",
        ] | join(", ") ~ ")") -%}
    {%- endfor -%}
    {%- set problem = problem_of("insert into " ~ table ~ " values " ~ rows | join(",\n")) -%}
    {%- if problem -%}
        {%- do log("This build is not recorded in " ~ table ~ ": " ~ problem, info=true) -%}
    {%- endif -%}
{%- endmacro %}

{#-
    Make the tables of `ops` that are missing, without rows, before the first build. A view over a missing table is a
    view of nothing, and new rows are no reason to build it again. All that write to these tables take them as they are
    declared, partitioned by the day on which something ended.
-#}
{% macro make_ops_tables() -%}
    {%- set tables = graph.sources.values() | selectattr("source_name", "equalto", "ops") | list if execute else [] -%}
    {%- if not tables or not is_recorded() -%} {{ return("") }} {%- endif -%}
    {%- set database, schema = tables[0].database, tables[0].schema -%}
    {%- set present = raw_columns(database, schema) -%}
    {%- set statements = [] -%}
    {%- for table in tables if table.identifier not in present and typed_columns(table) -%}
        {%- set columns = [] -%}
        {%- for column in typed_columns(table) -%}
            {%- do columns.append("`" ~ column.name ~ "` " ~ column.data_type) -%}
        {%- endfor -%}
        {%- do statements.append(
            "create table if not exists `" ~ database ~ "`.`" ~ schema ~ "`.`" ~ table.identifier ~ "` ("
            ~ columns | join(", ") ~ ") partition by date(ended_at)"
        ) -%}
    {%- endfor -%}
    {#- Without the dataset, nothing is recorded. -#}
    {%- if statements and adapter.check_schema_exists(database, schema) -%}
        {%- set problem = problem_of(statements | join(";\n")) -%}
        {%- if problem -%}
            {%- do log("The tables of " ~ schema ~ " could not be made: " ~ problem, info=true) -%}
        {%- else -%}
            {%- do graph["raw_columns"].pop(database ~ "." ~ schema) -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{#- Builds of developers and pull requests aren't. -#}
{% macro is_recorded() -%}
    {{ return(not target.schema.startswith("dbt_")) }}
{%- endmacro %}

{#- Run statements; what is wrong with one of them is returned and breaks nothing. -#}
{% macro problem_of(statements) -%}
    {%- set answer = run_query(
        "begin\n" ~ statements ~ ";\nexception when error then select @@error.message as problem;\nend"
    ) -%}
    {{ return(answer.rows[0][0] if answer and "problem" in answer.column_names else none) }}
{%- endmacro %}

{#- A text as a literal of GoogleSQL; at most 2,000 characters of it. -#}
{% macro text_literal(value) -%}
    {%- if value is none -%} {{ return("null") }} {%- endif -%}
    {%- set text = (value | string)[:2000].replace("\\", "\\\\").replace("'", "\\'") -%}
    {{ return("'" ~ text.replace("\r", "\\r").replace("\n", "\\n") ~ "'") }}
{%- endmacro %}

{% macro number_literal(value) -%}
    {{ return("null" if value is none else value | int | string) }}
{%- endmacro %}
