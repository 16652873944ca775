{#-
    Print the bytes billed by a run: the total, and for each model with its tests apart. Runs at the end of every
    build, from what dbt knows by then, without a query.
-#}
{% macro report_bytes_billed(results) -%}
    {%- if not execute -%} {{ return("") }} {%- endif -%}
    {%- set billed = {} -%}
    {%- for result in results -%}
        {%- set bytes = result.adapter_response.get("bytes_billed") or 0 -%}
        {%- set node = result.node -%}
        {%- set kind = 1 if node.resource_type == "test" else 0 -%}
        {#- A test is attached to its model. A test of several models is attached to none. -#}
        {%- set name = (node.attached_node or node.unique_id).split(".")[2] -%}
        {%- set both = billed.get(name, [0, 0]) -%}
        {%- do both.insert(kind, both.pop(kind) + bytes) -%}
        {%- do billed.update({name: both}) -%}
    {%- endfor -%}
    {%- set lines = [] -%}
    {%- for name, both in billed.items() if both | sum -%}
        {%- do lines.append([both | sum, name, both[1]]) -%}
    {%- endfor -%}
    {%- set total = readable_bytes(lines | sum(attribute=0)) -%}
    {%- do log("Bytes billed: " ~ total ~ " by " ~ results | length ~ " nodes", info=true) -%}
    {%- for bytes, name, by_tests in lines | sort(reverse=true) -%}
        {%- set tests = ", of which tests " ~ readable_bytes(by_tests) if by_tests else "" -%}
        {%- do log("%12s" | format(readable_bytes(bytes)) ~ "  " ~ name ~ tests, info=true) -%}
    {%- endfor -%}
{%- endmacro %}

{#- 21474836480 as 20.0 GiB. -#}
{% macro readable_bytes(bytes) -%}
    {%- set sizes = [["TiB", 1024 ** 4], ["GiB", 1024 ** 3], ["MiB", 1024 ** 2]] -%}
    {%- for unit, size in sizes if bytes >= size -%}
        {%- if loop.first -%} {{ return("%.1f %s" | format(bytes / size, unit)) }} {%- endif -%}
    {%- endfor -%}
    {{ return("%d B" | format(bytes)) }}
{%- endmacro %}
