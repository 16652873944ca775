{{ config(materialized='view') }}

with nodes as (

    select *
    from {{ ref('stg_ops__dbt_nodes') }}

),

priced as (

    select
        id,
        build_id,
        name,
        resource_type,
        status,
        message,
        duration_seconds,
        rows_affected,
        bytes_billed,
        {{ on_demand_usd('coalesce(bytes_billed, 0)') }} as usd,
        failed_rows,
        has_failed,
        row_number() over (partition by node_id order by ended_at desc, id desc) = 1 as is_latest,
        ended_at
    from nodes

)

select *
from priced
