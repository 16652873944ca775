with users as (

    select *
    from {{ ref('stg_product__users') }}

),

involvement as (

    select
        user_id,
        count(*) as incident_count,
        countif(is_creator) as created_incident_count,
        countif(is_lead) as led_incident_count,
        sum(timeline_item_count) as timeline_item_count,
        max(incident_created_at) as last_incident_created_at
    from {{ ref('fct_user_incident_graph') }}
    where not is_test
    group by user_id

),

open_actions as (

    select
        actions.assignee_id,
        count(*) as open_action_count
    from {{ ref('stg_product__actions') }} as actions
    inner join {{ ref('stg_product__incidents') }} as incidents
        on actions.incident_id = incidents.id
    where actions.is_open and not incidents.is_test
    group by actions.assignee_id

),

contacts as (

    select *
    from {{ ref('stg_intercom__contacts') }}
    where is_primary and user_id is not null

),

support as (

    select count(*) > 0 as is_connected
    from {{ ref('stg_intercom__contacts') }}

),

conversations as (

    select
        user_id,
        count(*) as conversation_count
    from {{ ref('fct_conversations') }}
    group by user_id

)

select
    ---------- ids
    users.id,
    users.organisation_id,
    users.slack_user_id,
    contacts.id as contact_id,

    ---------- text
    users.name,
    users.email,
    users.role,
    users.time_zone,
    users.locale,
    users.theme,

    ---------- numbers
    coalesce(involvement.incident_count, 0) as incident_count,
    coalesce(involvement.created_incident_count, 0) as created_incident_count,
    coalesce(involvement.led_incident_count, 0) as led_incident_count,
    coalesce(involvement.timeline_item_count, 0) as timeline_item_count,
    coalesce(open_actions.open_action_count, 0) as open_action_count,
    if(
        support.is_connected, coalesce(conversations.conversation_count, 0), null
    ) as conversation_count,

    ---------- booleans
    users.is_active,
    users.is_archived,
    users.has_slack,
    users.has_email_notifications,
    users.has_sms_notifications,
    contacts.has_unsubscribed as has_unsubscribed_from_emails,
    coalesce(involvement.created_incident_count, 0) > 0 as has_created_incident,

    ---------- timestamps
    involvement.last_incident_created_at,
    contacts.last_contacted_at,
    users.last_seen_at,
    users.created_at,
    users.updated_at,
    users.archived_at

from users
cross join support
left join involvement on users.id = involvement.user_id
left join open_actions on users.id = open_actions.assignee_id
left join contacts on users.id = contacts.user_id
left join conversations on users.id = conversations.user_id
