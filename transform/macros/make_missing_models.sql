{#-
    Make the models that no job has built yet, without rows. So whichever source comes first, its job
    finds all that its dimensions and facts are joined to, and Metabase knows every table.
    Which columns they have is in their YAML files. Runs at the start of every build.
-#}
{% macro make_missing_models() -%}
    {#- dbt shows macros no flag for --defer: with it, they are where production has them. -#}
    {%- if not execute or flags.WHICH not in ("build", "run") or invocation_args_dict.defer -%}
        {{ return("") }}
    {%- endif -%}
    {%- set schema = api.Relation.create(database=target.database, schema=target.schema) -%}
    {%- set there = adapter.list_relations_without_caching(schema) | map(attribute="name") | list -%}
    {%- set made = [] -%}
    {%- for model in graph.nodes.values()
        if model.resource_type == "model" and model.alias not in there
        and model.unique_id not in selected_resources and typed_columns(model) -%}
        {%- set kind = "view" if model.config.materialized == "view" else "table" -%}
        {%- do run_query(
            "create " ~ kind ~ " if not exists `" ~ model.database ~ "`.`" ~ model.schema ~ "`.`"
            ~ model.alias ~ "` as select * from " ~ nothing(model.columns.values() | list)
        ) -%}
        {%- do made.append(model.name) -%}
    {%- endfor -%}
    {%- if made -%}
        {%- do log("Not built yet, and made without rows: " ~ made | join(", "), info=true) -%}
    {%- endif -%}
{%- endmacro %}
