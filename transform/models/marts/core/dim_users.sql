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

)

select
    ---------- ids
    users.id,
    users.organisation_id,
    users.slack_user_id,

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

    ---------- booleans
    users.is_active,
    users.is_archived,
    users.has_slack,
    users.has_email_notifications,
    users.has_sms_notifications,
    coalesce(involvement.created_incident_count, 0) > 0 as has_created_incident,

    ---------- timestamps
    involvement.last_incident_created_at,
    users.last_seen_at,
    users.created_at,
    users.updated_at,
    users.archived_at

from users
left join involvement on users.id = involvement.user_id
left join open_actions on users.id = open_actions.assignee_id
