with source as (

    select *
    from {{ ref('int_close__current_activities') }}

),

renamed as (

    select
        ---------- ids
        id,
        lead_id,
        contact_id,
        opportunity_id,
        user_id,

        ---------- text
        lower(regexp_replace(_type, r'([a-z])([A-Z])', r'\1_\2')) as type,
        case direction
            when 'outgoing' then 'outbound'
            when 'incoming' then 'inbound'
            else direction
        end as direction,
        status,
        user_name,
        subject,
        nullif(coalesce(note, body_text), '') as content,
        old_status_label as old_status,
        new_status_label as new_status,

        ---------- numbers
        duration as duration_seconds,

        ---------- booleans
        coalesce(
            _type = 'Meeting'
            or (_type = 'Call' and direction = 'outbound')
            or (
                _type = 'Email'
                and direction = 'outgoing'
                and status = 'sent'
            ),
            false
        ) as is_outreach,

        ---------- timestamps
        coalesce(date_sent, date_created) as occurred_at,
        date_created as created_at,
        date_updated as updated_at

    from source

)

select *
from renamed
