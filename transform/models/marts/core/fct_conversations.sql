{#-
    Clustered by time and not partitioned. So no date in the data can lead to more partitions than BigQuery
    accepts, and a month would be far too small to be worth a partition.
    https://cloud.google.com/bigquery/docs/partitioned-tables#when_to_use_partitioning
-#}
{{ config(cluster_by=['opened_at', 'organisation_id']) }}

with conversations as (

    select *
    from {{ ref('stg_intercom__conversations') }}

),

contacts as (

    select *
    from {{ ref('stg_intercom__contacts') }}

),

admins as (

    select *
    from {{ ref('stg_intercom__admins') }}

),

teams as (

    select *
    from {{ ref('stg_intercom__teams') }}

),

-- The first message of a conversation is not one of its parts.
parts as (

    select
        conversation_id,
        countif(is_message and is_from_customer) as customer_message_count,
        countif(is_message and is_from_us) as our_message_count,
        countif(is_note) as note_count,
        max(if(is_message and is_from_us, created_at, null)) as last_contacted_at,
        max(if(is_message and is_from_customer, created_at, null)) as last_customer_message_at
    from {{ ref('stg_intercom__conversation_parts') }}
    group by conversation_id

),

-- Intercom may still have users and organisations that the product has deleted.
belonging as (

    select
        contacts.id as contact_id,
        users.id as user_id,
        coalesce(organisations.id, users.organisation_id) as organisation_id
    from contacts
    left join {{ ref('stg_intercom__companies') }} as companies
        on contacts.company_id = companies.id
    left join {{ ref('stg_product__organisations') }} as organisations
        on companies.organisation_id = organisations.id
    left join {{ ref('stg_product__users') }} as users
        on contacts.user_id = users.id

)

select
    ---------- ids
    conversations.id,
    contacts.id as contact_id,
    belonging.user_id,
    belonging.organisation_id,

    ---------- text
    contacts.name as contact_name,
    contacts.role as contact_role,
    conversations.state,
    conversations.channel,
    conversations.subject,
    conversations.body,
    conversations.tags,
    admins.name as assignee,
    teams.name as team,
    conversations.rating_remark,

    ---------- numbers
    conversations.rating,
    coalesce(parts.customer_message_count, 0)
    + if(conversations.is_customer_initiated, 1, 0) as customer_message_count,
    coalesce(parts.our_message_count, 0)
    + if(conversations.is_customer_initiated, 0, 1) as our_message_count,
    coalesce(parts.note_count, 0) as note_count,
    conversations.reopening_count,
    div(conversations.seconds_to_first_reply, 60) as minutes_to_first_reply,
    div(conversations.median_seconds_to_reply, 60) as median_minutes_to_reply,
    if(conversations.is_open, null, div(conversations.seconds_to_last_close, 60))
        as minutes_to_close,

    ---------- booleans
    conversations.is_open,
    conversations.is_snoozed,
    conversations.is_open and conversations.waiting_since is not null as is_waiting,
    conversations.is_customer_initiated,
    conversations.is_priority,
    conversations.has_rating,

    ---------- timestamps
    conversations.created_at as opened_at,
    conversations.first_replied_at,
    conversations.waiting_since,
    coalesce(
        parts.last_contacted_at,
        if(conversations.is_customer_initiated, null, conversations.created_at)
    ) as last_contacted_at,
    coalesce(
        parts.last_customer_message_at,
        if(conversations.is_customer_initiated, conversations.created_at, null)
    ) as last_customer_message_at,
    if(conversations.is_open, null, conversations.last_closed_at) as closed_at,
    conversations.rated_at,
    conversations.updated_at

from conversations
left join contacts on conversations.contact_id = contacts.id
left join belonging on contacts.id = belonging.contact_id
left join parts on conversations.id = parts.conversation_id
left join admins on conversations.assignee_id = admins.id
left join teams on conversations.team_id = teams.id
