select
    load_id,
    any_value(dataset) as dataset,
    any_value(source) as extractor,
    min(started_at) as started_at,
    max(ended_at) as ended_at,
    count(*) as streams,
    sum(rows_received) as received,
    sum(rows_inserted) as inserted,
    sum(rows_updated) as updated,
    sum(rows_deleted) as deleted,
    sum(bytes_billed) as bytes_billed,
    array_agg(
        if(error is null, null, struct(stream, error)) ignore nulls order by stream
    ) as failures
from `{ledger}.loads`
where @dataset is null or dataset = @dataset
group by load_id
order by ended_at desc
limit @limit
