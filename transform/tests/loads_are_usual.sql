{{ config(severity='warn', tags=['every_build']) }}

select
    source_id,
    stream,
    rows_changed,
    least_rows_changed,
    most_rows_changed,
    ended_at
from {{ ref('fct_loads') }}
where
    is_latest
    and is_unusual
