{{ config(materialized='view') }}

with loads as (

    select *
    from {{ ref('stg_ops__loads') }}

),

numbered as (

    select
        *,
        row_number() over (
            partition by source_id, extractor, stream
            order by ended_at, id
        ) as load_number
    from loads
    where not has_failed

),

-- A stream's first load brings all that there is: it says nothing about the next ones.
with_usual_range as (

    select
        id,
        count(if(load_number > 1, 1, null)) over earlier as earlier_loads,
        min(if(load_number > 1, rows_changed, null)) over earlier as least_rows_changed,
        max(if(load_number > 1, rows_changed, null)) over earlier as most_rows_changed
    from numbered
    window earlier as (
        partition by source_id, extractor, stream
        order by load_number
        rows between 30 preceding and 1 preceding
    )

),

joined as (

    select
        loads.id,
        loads.load_id,
        loads.run_id,
        loads.source_id,
        loads.extractor,
        loads.stream,
        loads.table_name,
        case
            when loads.has_failed then 'failed'
            when loads.rows_changed > 0 then 'changed'
            else 'unchanged'
        end as status,
        loads.error,
        loads.schema_changes,
        loads.rows_received,
        loads.rows_inserted,
        loads.rows_updated,
        loads.rows_deleted,
        loads.rows_changed,
        with_usual_range.least_rows_changed,
        with_usual_range.most_rows_changed,
        loads.bytes_billed,
        loads.duration_seconds,
        loads.is_proven_complete,
        coalesce(
            with_usual_range.earlier_loads >= 7
            and (
                loads.rows_changed * 2 < with_usual_range.least_rows_changed
                or loads.rows_changed > with_usual_range.most_rows_changed * 2
            ),
            false
        ) as is_unusual,
        row_number() over (
            partition by loads.source_id, loads.extractor, loads.stream
            order by loads.ended_at desc, loads.id desc
        ) = 1 as is_latest,
        loads.started_at,
        loads.ended_at
    from loads
    left join with_usual_range on loads.id = with_usual_range.id

)

select *
from joined
