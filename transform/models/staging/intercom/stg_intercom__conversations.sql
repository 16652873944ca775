with source as (

    select *
    from {{ ref('int_intercom__current_conversations') }}

),

renamed as (

    select
        ---------- ids
        conversations.id,
        json_value(conversations.contacts, '$[0].id') as contact_id,
        -- 0 is nobody.
        cast(nullif(conversations.admin_assignee_id, 0) as string) as assignee_id,
        cast(nullif(conversations.team_assignee_id, 0) as string) as team_id,
        json_value(conversations.statistics, '$.last_closed_by_id') as last_closed_by_id,

        ---------- text
        conversations.state,
        -- The type of a message from Intercom's messenger is 'conversation'.
        if(
            json_value(conversations.source, '$.type') = 'conversation',
            'messenger',
            json_value(conversations.source, '$.type')
        ) as channel,
        json_value(conversations.source, '$.author.type') as opener_type,
        nullif(json_value(conversations.source, '$.subject'), '') as subject,
        {{ plain_text("json_value(conversations.source, '$.body')") }} as body,
        conversations.title,
        (
            select string_agg(json_value(tag, '$.name'), ', ' order by json_value(tag, '$.name'))
            from unnest(json_query_array(conversations.tags)) as tag
        ) as tags,
        json_value(conversations.conversation_rating, '$.remark') as rating_remark,

        ---------- numbers
        lax_int64(json_query(conversations.conversation_rating, '$.rating')) as rating,
        coalesce(array_length(json_query_array(conversations.contacts)), 0) as contact_count,
        lax_int64(json_query(conversations.statistics, '$.count_conversation_parts')) as part_count,
        lax_int64(json_query(conversations.statistics, '$.count_reopens')) as reopening_count,
        lax_int64(json_query(conversations.statistics, '$.count_assignments')) as assignment_count,
        lax_int64(
            json_query(conversations.statistics, '$.time_to_assignment')
        ) as seconds_to_assignment,
        lax_int64(
            json_query(conversations.statistics, '$.time_to_admin_reply')
        ) as seconds_to_first_reply,
        lax_int64(
            json_query(conversations.statistics, '$.median_time_to_reply')
        ) as median_seconds_to_reply,
        lax_int64(
            json_query(conversations.statistics, '$.time_to_first_close')
        ) as seconds_to_first_close,
        lax_int64(
            json_query(conversations.statistics, '$.time_to_last_close')
        ) as seconds_to_last_close,

        ---------- booleans
        conversations.open as is_open,
        conversations.state = 'snoozed' as is_snoozed,
        conversations.read as is_read,
        -- Before API version 2.16: priority or not_priority.
        conversations.priority in ('priority', 'high', 'urgent') as is_priority,
        json_value(conversations.source, '$.delivered_as') = 'customer_initiated'
            as is_customer_initiated,
        json_value(conversations.conversation_rating, '$.rating') is not null as has_rating,

        ---------- timestamps
        conversations.waiting_since,
        conversations.snoozed_until,
        {{ json_timestamp("conversations.statistics", "$.first_admin_reply_at") }}
            as first_replied_at,
        {{ json_timestamp("conversations.statistics", "$.last_admin_reply_at") }}
            as last_replied_at,
        {{ json_timestamp("conversations.statistics", "$.last_contact_reply_at") }}
            as last_customer_message_at,
        {{ json_timestamp("conversations.statistics", "$.first_close_at") }}
            as first_closed_at,
        {{ json_timestamp("conversations.statistics", "$.last_close_at") }}
            as last_closed_at,
        {{ json_timestamp("conversations.conversation_rating", "$.created_at") }}
            as rated_at,
        conversations.created_at,
        conversations.updated_at

    from source as conversations

)

select *
from renamed
