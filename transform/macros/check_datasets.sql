{#-
    Fail if a model, seed or snapshot would be written outside the target's dataset. `generate_schema_name` and
    `generate_database_name` decide that for all but a snapshot with a `target_schema`.
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
