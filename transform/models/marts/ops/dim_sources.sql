{{ config(materialized='view') }}

with loads as (

    select *
    from {{ ref('stg_ops__loads') }}

),

runs as (

    select
        source_id,
        load_id,
        countif(has_failed) as failed_streams,
        max(ended_at) as ended_at
    from loads
    group by source_id, load_id

),

last_runs as (

    select
        source_id,
        max(if(failed_streams = 0, ended_at, null)) as last_success_at,
        max(ended_at) as last_load_at,
        array_agg(failed_streams order by ended_at desc limit 1)[offset(0)] as failed_streams
    from runs
    group by source_id

),

last_month as (

    select
        source_id,
        count(distinct load_id) as loads_last_30_days,
        sum(rows_changed) as rows_changed_last_30_days,
        sum(bytes_billed) as bytes_billed_last_30_days
    from loads
    where ended_at >= timestamp(date_sub({{ today() }}, interval 30 day))
    group by source_id

),

streams as (

    select
        source_id,
        count(distinct stream) as streams
    from loads
    group by source_id

),

promises as (

    {{ freshness_promises() }}

),

joined as (

    select
        last_runs.source_id as id,
        streams.streams,
        last_runs.failed_streams,
        coalesce(last_month.loads_last_30_days, 0) as loads_last_30_days,
        coalesce(last_month.rows_changed_last_30_days, 0) as rows_changed_last_30_days,
        coalesce(last_month.bytes_billed_last_30_days, 0) as bytes_billed_last_30_days,
        round(
            {{ on_demand_usd('coalesce(last_month.bytes_billed_last_30_days, 0)') }}, 2
        ) as usd_last_30_days,
        promises.promised_hours,
        last_runs.failed_streams > 0 as is_failing,
        promises.promised_hours is not null
        and coalesce(
            timestamp_diff(current_timestamp(), last_runs.last_success_at, minute)
            > promises.promised_hours * 60,
            true
        ) as is_late,
        last_runs.last_success_at,
        last_runs.last_load_at
    from last_runs
    inner join streams on last_runs.source_id = streams.source_id
    left join last_month on last_runs.source_id = last_month.source_id
    left join promises on last_runs.source_id = promises.source_id

)

select *
from joined
