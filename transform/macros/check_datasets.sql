{#-
    Refuse a build of which something would go elsewhere than into the target's dataset. What
    `generate_schema_name` and `generate_database_name` don't decide is a snapshot's `target_schema`.
-#}
{% macro check_datasets() -%}
    {%- if not execute -%} {{ return("") }} {%- endif -%}
    {%- for node in graph.nodes.values()
        if node.resource_type in ("model", "seed", "snapshot")
        and (node.database, node.schema) != (target.database, target.schema) -%}
        {%- do exceptions.raise_compiler_error(
            node.original_file_path ~ ": '" ~ node.name ~ "' would go into " ~ node.database ~ "."
            ~ node.schema ~ ", but everything goes into " ~ target.database ~ "." ~ target.schema
            ~ ". Remove its `target_schema` and `target_database`."
        ) -%}
    {%- endfor -%}
{%- endmacro %}
