{#-
    Clustered by time and not partitioned. So no date in the data can lead to more partitions than BigQuery
    accepts, and a month would be far too small to be worth a partition.
    https://cloud.google.com/bigquery/docs/partitioned-tables#when_to_use_partitioning
-#}
{{ config(cluster_by=['incident_created_at', 'organisation_id']) }}

with incidents as (

    select *
    from {{ ref('stg_product__incidents') }}

),

participants as (

    select *
    from {{ ref('stg_product__incident_participants') }}

),

-- Each way of taking part in an incident.
involvements as (

    select
        id as incident_id,
        creator_id as user_id,
        'creator' as involvement,
        created_at as involved_at
    from incidents

    union all

    -- The product does not record when a lead was chosen.
    select
        id as incident_id,
        incident_lead_id as user_id,
        'lead' as involvement,
        cast(null as timestamp) as involved_at
    from incidents
    where incident_lead_id is not null

    union all

    select
        incident_id,
        user_id,
        'participant' as involvement,
        joined_at as involved_at
    from participants

    union all

    select
        incident_id,
        user_id,
        'timeline_item' as involvement,
        occurred_at as involved_at
    from {{ ref('stg_product__timeline_items') }}
    where user_id is not null

    union all

    select
        incident_id,
        assignee_id as user_id,
        'action' as involvement,
        created_at as involved_at
    from {{ ref('stg_product__actions') }}
    where assignee_id is not null

),

edges as (

    select
        incident_id,
        user_id,
        logical_or(involvement = 'creator') as is_creator,
        logical_or(involvement = 'lead') as is_lead,
        countif(involvement = 'timeline_item') as timeline_item_count,
        countif(involvement = 'action') as action_count,
        min(involved_at) as first_involved_at
    from involvements
    group by incident_id, user_id

)

select
    ---------- ids
    {{ surrogate_key(['edges.incident_id', 'edges.user_id']) }} as id,
    edges.user_id,
    edges.incident_id,
    incidents.organisation_id,

    ---------- text
    participants.role as participant_role,

    ---------- numbers
    coalesce(participants.message_count, 0) as message_count,
    edges.timeline_item_count,
    edges.action_count,

    ---------- booleans
    edges.is_creator,
    edges.is_lead,
    incidents.is_test,

    ---------- timestamps
    coalesce(edges.first_involved_at, incidents.created_at) as first_involved_at,
    incidents.created_at as incident_created_at

from edges
inner join incidents on edges.incident_id = incidents.id
left join participants
    on edges.incident_id = participants.incident_id and edges.user_id = participants.user_id
