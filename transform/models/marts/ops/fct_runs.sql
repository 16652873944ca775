{{ config(materialized='view') }}

with runs as (

    select *
    from {{ ref('stg_ops__runs') }}

),

loads as (

    select *
    from {{ ref('stg_ops__loads') }}

),

loads_of_runs as (

    select
        runs.id,
        countif(loads.has_failed) as failed_streams,
        sum(loads.rows_changed) as rows_changed,
        sum(loads.bytes_billed) as bytes_billed
    from runs
    inner join loads on runs.run_id = loads.run_id
    where loads.started_at >= runs.started_at and loads.ended_at <= runs.ended_at
    group by runs.id

),

joined as (

    select
        runs.id,
        runs.run_id,
        runs.arguments,
        runs.environment,
        runs.status,
        runs.failed_step,
        runs.error,
        runs.sources,
        runs.log_file,
        runs.host,
        runs.steps,
        runs.tables,
        runs.rows_received,
        runs.rows_deleted,
        coalesce(loads_of_runs.rows_changed, 0) as rows_changed,
        coalesce(loads_of_runs.failed_streams, 0) as failed_streams,
        coalesce(loads_of_runs.bytes_billed, 0) as bytes_billed,
        runs.duration_seconds,
        runs.has_failed,
        row_number() over (
            partition by runs.arguments, runs.environment
            order by runs.ended_at desc, runs.id desc
        ) = 1 as is_latest,
        runs.started_at,
        runs.ended_at
    from runs
    left join loads_of_runs on runs.id = loads_of_runs.id

)

select *
from joined
