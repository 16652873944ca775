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

-- When two leads are merged, the activities of one go over to the other without being changed.
merges as (

    select
        json_value(meta, '$.merge_source_lead_id') as source_lead_id,
        min(json_value(meta, '$.merge_destination_lead_id')) as destination_lead_id
    from events
    where object_type = 'lead' and action = 'merged'
    group by source_lead_id

),

renamed as (

    select
        ---------- ids
        source.id,
        coalesce(merges.destination_lead_id, source.lead_id) as lead_id,
        source.contact_id,
        source.opportunity_id,
        source.user_id,

        ---------- text
        lower(regexp_replace(source._type, r'([a-z])([A-Z])', r'\1_\2')) as type,
        case source.direction
            when 'outgoing' then 'outbound'
            when 'incoming' then 'inbound'
            else source.direction
        end as direction,
        source.status,
        source.user_name,
        source.subject,
        nullif(coalesce(source.note, source.body_text), '') as content,
        source.old_status_label as old_status,
        source.new_status_label as new_status,

        ---------- numbers
        source.duration as duration_seconds,

        ---------- booleans
        coalesce(
            source._type = 'Meeting'
            or (source._type = 'Call' and source.direction = 'outbound')
            or (
                source._type = 'Email'
                and source.direction = 'outgoing'
                and source.status = 'sent'
            ),
            false
        ) as is_outreach,

        ---------- timestamps
        coalesce(source.date_sent, source.date_created) as occurred_at,
        source.date_created as created_at,
        source.date_updated as updated_at

    from source
    left join deleted on source.id = deleted.activity_id
    left join merges on source.lead_id = merges.source_lead_id
    where deleted.activity_id is null

)

select renamed.*
from renamed
-- Without the activities of leads that were deleted, and of those that the next run will bring.
inner join {{ ref('stg_close__leads') }} as leads on renamed.lead_id = leads.id
