{#-
    Drop the target's dataset, which must be that of a pull request. For `dbt run-operation`, once
    the pull request is closed: orchestrate/ci/drop.sh.
-#}
{% macro drop_dataset_of_pull_request() -%}
    {%- if not modules.re.fullmatch("dbt_pr_[0-9]+", target.schema) -%}
        {%- do exceptions.raise_compiler_error(
            "'" ~ target.schema ~ "' isn't the dataset of a pull request, dbt_pr_<number>: nothing is dropped"
        ) -%}
    {%- endif -%}
    {%- do adapter.drop_schema(api.Relation.create(database=target.database, schema=target.schema)) -%}
    {%- do log("Dropped " ~ target.schema, info=true) -%}
{%- endmacro %}
