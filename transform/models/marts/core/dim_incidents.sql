with incidents as (

    select *
    from {{ ref('stg_product__incidents') }}

),

involvement as (

    select
        incident_id,
        count(*) as user_count
    from {{ ref('fct_user_incident_graph') }}
    group by incident_id

),

timeline_items as (

    select
        incident_id,
        count(*) as timeline_item_count,
        countif(is_pinned) as pinned_item_count
    from {{ ref('stg_product__timeline_items') }}
    group by incident_id

),

actions as (

    select
        incident_id,
        count(*) as action_count,
        countif(is_open) as open_action_count,
        countif(is_follow_up) as follow_up_count
    from {{ ref('stg_product__actions') }}
    group by incident_id

)

select
    ---------- ids
    incidents.id,
    incidents.organisation_id,
    incidents.creator_id,
    incidents.incident_lead_id,

    ---------- text
    incidents.reference,
    incidents.name,
    incidents.summary,
    incidents.status,
    incidents.severity,
    incidents.labels,
    incidents.affected_team,
    incidents.cause_kind,
    incidents.cause_detail,

    ---------- numbers
    incidents.customers_affected,
    {{ contract_numeric('incidents.estimated_cost') }} as estimated_cost,
    coalesce(involvement.user_count, 0) as user_count,
    coalesce(timeline_items.timeline_item_count, 0) as timeline_item_count,
    coalesce(timeline_items.pinned_item_count, 0) as pinned_item_count,
    coalesce(actions.action_count, 0) as action_count,
    coalesce(actions.open_action_count, 0) as open_action_count,
    coalesce(actions.follow_up_count, 0) as follow_up_count,
    timestamp_diff(
        incidents.resolved_at, coalesce(incidents.detected_at, incidents.created_at), minute
    ) as minutes_to_resolve,

    ---------- booleans
    incidents.is_open,
    incidents.is_private,
    incidents.is_test,
    incidents.is_archived,

    ---------- timestamps
    incidents.detected_at,
    incidents.resolved_at,
    incidents.closed_at,
    incidents.created_at,
    incidents.updated_at,
    incidents.archived_at

from incidents
left join involvement on incidents.id = involvement.incident_id
left join timeline_items on incidents.id = timeline_items.incident_id
left join actions on incidents.id = actions.incident_id
