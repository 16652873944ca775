{#-
    Append to `ops.dbt_nodes` a row for each node of a run: how it ended, how long it took, what it billed. Runs at the
    end of every build in `prod` and `local`; builds of developers and pull requests aren't recorded. One statement,
    which reads no table and bills nothing. If it fails, the build is as good as before, and a line says so.
-#}
{% macro record_nodes(results) -%}
    {%- if not execute or not results or target.schema.startswith("dbt_") -%} {{ return("") }} {%- endif -%}
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
    {%- set problems = run_query(
        "begin\n"
        ~ "create table if not exists " ~ table ~ " (invocation_id string, node_id string, name string,"
        ~ " resource_type string, status string, message string, duration_seconds float64, rows_affected int64,"
        ~ " bytes_billed int64, failures int64, ended_at timestamp) partition by date(ended_at);\n"
        ~ "insert into " ~ table ~ " values " ~ rows | join(",\n") ~ ";\n"
        ~ "exception when error then select @@error.message as problem;\n"
        ~ "end"
    ) -%}
    {%- if problems and "problem" in problems.column_names -%}
        {%- do log("This build is not recorded in " ~ table ~ ": " ~ problems.rows[0][0], info=true) -%}
    {%- endif -%}
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
