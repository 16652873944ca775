{#-
    Print the rows that failed a test or made it warn, at most ten a test; dbt prints how many there are. Runs at the
    end of every build, and queries BigQuery only for a test that didn't pass.
-#}
{% macro report_broken_rows(results) -%}
    {%- if not execute -%} {{ return("") }} {%- endif -%}
    {%- for result in results
        if result.node.resource_type == "test" and result.status in ("fail", "warn") -%}
        {%- do log(result.status | upper ~ " " ~ result.node.name ~ ", " ~ result.failures ~ " rows:", info=true) -%}
        {%- for row in run_query("select * from (" ~ result.node.compiled_code ~ "\n) limit 10").rows -%}
            {%- set cells = [] -%}
            {%- for name, value in row.dict().items() if value is not none -%}
                {%- do cells.append(name ~ "=" ~ value) -%}
            {%- endfor -%}
            {%- do log("    " ~ cells | join(", "), info=true) -%}
        {%- endfor -%}
    {%- endfor -%}
{%- endmacro %}
