{#-
    Make the models that no job has built yet, without rows. So whichever source is loaded first, its job finds
    all that its dimensions and facts read, and Metabase knows every table. The columns are those that YAML files
    declare. `dbt-changed` does it before a build, where a model is missing.

    Args:
        built_anyway: the names of relations that the build makes by itself.
-#}
{% macro make_missing_models(built_anyway=[]) -%}
    {%- if not execute -%} {{ return("") }} {%- endif -%}
    {%- do check_datasets() -%}
    {%- if not adapter.check_schema_exists(target.database, target.schema) -%}
        {%- do adapter.create_schema(target_schema()) -%}
    {%- endif -%}
    {%- set made = [] -%}
    {%- for model in missing_models() if model.alias not in built_anyway and typed_columns(model) -%}
        {%- set kind = "view" if model.config.materialized == "view" else "table" -%}
        {%- do run_query(
            "create " ~ kind ~ " if not exists `" ~ model.database ~ "`.`" ~ model.schema ~ "`.`"
            ~ model.alias ~ "` as select * from " ~ nothing(model.columns.values() | list)
        ) -%}
        {%- do made.append(model.name) -%}
    {%- endfor -%}
    {%- if made -%}
        {%- do log("Not built yet, and made without rows: " ~ made | join(", "), info=true) -%}
    {%- else -%}
        {%- do log("No model is missing", info=true) -%}
    {%- endif -%}
{%- endmacro %}

{#- The models that are to be a table or a view of the target's dataset, and aren't yet. -#}
{% macro missing_models() -%}
    {%- set present = adapter.list_relations_without_caching(target_schema()) | map(attribute="name") | list -%}
    {%- set missing = [] -%}
    {%- for model in graph.nodes.values()
        if model.resource_type == "model" and model.config.materialized != "ephemeral"
        and model.alias not in present -%}
        {%- do missing.append(model) -%}
    {%- endfor -%}
    {{ return(missing) }}
{%- endmacro %}

{% macro target_schema() -%}
    {{ return(api.Relation.create(database=target.database, schema=target.schema)) }}
{%- endmacro %}
