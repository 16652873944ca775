{#-
    Name the models that a failed build needed and that no job has built, and the fix. Runs at the end of every
    build, and queries BigQuery only after a failure.
-#}
{% macro report_missing_models(results) -%}
    {#- With --defer, models that the target's dataset lacks are read where production has them. dbt shows macros no
        flag for it. -#}
    {%- if not execute or invocation_args_dict.defer -%} {{ return("") }} {%- endif -%}
    {%- set needed = [] -%}
    {%- for result in results if result.status == "error" -%}
        {%- do needed.extend(relations_read_by(result.node)) -%}
    {%- endfor -%}
    {%- if not needed -%} {{ return("") }} {%- endif -%}
    {%- set names = [] -%}
    {%- for model in missing_models()
        if model.unique_id in needed and model.unique_id not in selected_resources -%}
        {%- do names.append(model.name) -%}
    {%- endfor -%}
    {%- if names -%}
        {%- do log(
            "Not built yet: " ~ names | sort | join(", ") ~ ". Make them without rows: "
            ~ "`meltano invoke dbt-bigquery:make-missing-models`, or build with "
            ~ "`meltano invoke dbt-bigquery:build-changed`, which does it by itself.",
            info=true
        ) -%}
    {%- endif -%}
{%- endmacro %}

{#- The ids of the sources and models that a node reads. Ephemeral models are part of the node's query. -#}
{% macro relations_read_by(node) -%}
    {%- set found = [] -%}
    {%- for unique_id in node.depends_on.nodes -%}
        {%- set upstream = graph.nodes.get(unique_id) -%}
        {%- if upstream and upstream.config.materialized == "ephemeral" -%}
            {%- do found.extend(relations_read_by(upstream)) -%}
        {%- else -%}
            {%- do found.append(unique_id) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}
