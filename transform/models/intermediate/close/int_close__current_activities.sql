with source as (

    select *
    from {{ source('close', 'activities') }}
    where _sdc_deleted_at is null

),

events as (

    select *
    from {{ source('close', 'event_log') }}
    where _sdc_deleted_at is null

),

deleted as (

    select distinct object_id as activity_id
    from events
    where action = 'deleted'

),

-- When two leads are merged, Close moves the activities of one to the other without changing them.
merges as (

    select
        json_value(meta, '$.merge_source_lead_id') as source_lead_id,
        min(json_value(meta, '$.merge_destination_lead_id')) as destination_lead_id
    from events
    where object_type = 'lead' and action = 'merged'
    group by source_lead_id

),

current_activities as (

    select
        source.* except (lead_id),
        coalesce(merges.destination_lead_id, source.lead_id) as lead_id
    from source
    left join deleted on source.id = deleted.activity_id
    left join merges on source.lead_id = merges.source_lead_id
    where deleted.activity_id is null

)

select current_activities.*
from current_activities
-- Activities of deleted leads are dropped. Activities of leads that the next run loads wait for it.
inner join {{ ref('int_close__current_leads') }} as leads on current_activities.lead_id = leads.id
