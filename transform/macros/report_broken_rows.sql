{#-
    Say which rows failed a test or made it warn, ten of each test at most: dbt says how many. Runs at the
    end of every build, and asks BigQuery only after a test that didn't pass.
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
