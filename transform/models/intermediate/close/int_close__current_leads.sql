with source as (

    select *
    from {{ source('close', 'leads') }}
    where _sdc_deleted_at is null

),

-- Close also deletes a lead that was merged into another.
deleted as (

    select distinct object_id as lead_id
    from {{ source('close', 'event_log') }}
    where _sdc_deleted_at is null and object_type = 'lead' and action = 'deleted'

)

select source.*
from source
left join deleted on source.id = deleted.lead_id
where deleted.lead_id is null
