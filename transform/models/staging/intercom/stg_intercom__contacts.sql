with source as (

    select *
    from {{ source('intercom', 'contacts') }}
    where _sdc_deleted_at is null

),

-- A contact holds only the ids of its tags.
contact_tags as (

    select
        source.id as contact_id,
        string_agg(tags.name, ', ' order by tags.name) as tags
    from source
    cross join unnest(json_query_array(source.tags)) as tag
    inner join {{ source('intercom', 'tags') }} as tags
        on json_value(tag, '$.id') = tags.id
    group by source.id

),

renamed as (

    select
        ---------- ids
        source.id,
        -- Leads have ids that Intercom made up.
        if(source.role = 'user', source.external_id, null) as user_id,
        json_value(source.companies, '$[0].id') as company_id,

        ---------- text
        source.role,
        source.name,
        source.email,
        source.phone,
        contact_tags.tags,
        json_value(source.location, '$.country') as country,
        json_value(source.location, '$.city') as city,
        source.browser,
        source.os as operating_system,

        ---------- numbers
        coalesce(array_length(json_query_array(source.companies)), 0) as company_count,

        ---------- booleans
        source.role = 'user' as is_user,
        source.role = 'lead' as is_lead,
        source.unsubscribed_from_emails as has_unsubscribed,
        source.has_hard_bounced as has_bounced,
        source.marked_email_as_spam as has_marked_as_spam,

        ---------- timestamps
        source.signed_up_at,
        source.last_seen_at,
        source.last_replied_at,
        source.last_contacted_at,
        source.last_email_opened_at,
        source.created_at,
        source.updated_at

    from source
    left join contact_tags on source.id = contact_tags.contact_id

),

final as (

    select
        *,
        -- Who was deleted in Intercom and came back has two contacts here: that the first is gone
        -- can't be seen.
        user_id is null or row_number() over (
            partition by user_id
            order by updated_at desc, created_at desc, id asc
        ) = 1 as is_primary
    from renamed

)

select *
from final
