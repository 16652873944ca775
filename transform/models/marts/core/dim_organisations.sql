with organisations as (

    select *
    from {{ ref('stg_product__organisations') }}

),

latest_statistics as (

    select *
    from {{ ref('fct_organisation_statistics') }}
    qualify row_number() over (partition by organisation_id order by day desc) = 1

),

incidents as (

    select
        organisation_id,
        countif(is_open) as open_incident_count,
        min(created_at) as first_incident_created_at,
        max(created_at) as last_incident_created_at
    from {{ ref('stg_product__incidents') }}
    where not is_test
    group by organisation_id

),

workflows as (

    select
        organisation_id,
        countif(is_enabled) as enabled_workflow_count
    from {{ ref('stg_product__workflows') }}
    group by organisation_id

),

announcement_rules as (

    select
        organisation_id,
        count(*) as announcement_rule_count
    from {{ ref('stg_product__announcement_rules') }}
    group by organisation_id

),

---------- sales

won_leads as (

    select distinct lead_id
    from {{ ref('stg_close__opportunities') }}
    where is_won

),

-- An organisation may be entered twice in the CRM. The lead with a won deal takes precedence.
leads as (

    select
        leads.id,
        leads.organisation_id,
        leads.status,
        leads.owner
    from {{ ref('stg_close__leads') }} as leads
    left join won_leads on leads.id = won_leads.lead_id
    where leads.organisation_id is not null
    qualify row_number() over (
            partition by leads.organisation_id
            order by won_leads.lead_id is null, leads.created_at, leads.id
        ) = 1

),

---------- support

support as (

    select count(*) > 0 as is_connected
    from {{ ref('fct_conversations') }}

),

conversations as (

    select
        organisation_id,
        countif(
            opened_at >= timestamp(date_sub({{ today() }}, interval 30 day))
        ) as count_30_days,
        countif(
            opened_at >= timestamp(date_sub({{ today() }}, interval 90 day))
        ) as count_90_days
    from {{ ref('fct_conversations') }}
    group by organisation_id

),

---------- billing

billing as (

    select count(*) > 0 as is_connected
    from {{ ref('stg_stripe__customers') }}

),

billed as (

    select *
    from {{ ref('int_organisation_billing') }}

),

---------- both

contacts as (

    select
        leads.organisation_id,
        activities.occurred_at as contacted_at
    from {{ ref('stg_close__activities') }} as activities
    inner join {{ ref('stg_close__leads') }} as leads on activities.lead_id = leads.id
    where activities.is_outreach

    union all

    select
        organisation_id,
        last_contacted_at as contacted_at
    from {{ ref('fct_conversations') }}

),

last_contacts as (

    select
        organisation_id,
        max(contacted_at) as contacted_at
    from contacts
    group by organisation_id

)

select
    ---------- ids
    organisations.id,
    organisations.slack_team_id,
    leads.id as lead_id,

    ---------- text
    organisations.name,
    organisations.slug,
    organisations.tags,
    organisations.default_severity,
    leads.status as lead_status,
    leads.owner as lead_owner,
    billed.plan,
    billed.billing_currency,
    billed.billing_currencies,

    ---------- numbers
    {{ contract_numeric('organisations.annual_contract_value') }} as annual_contract_value,
    if(billing.is_connected, {{ contract_numeric('coalesce(billed.mrr, 0)') }}, null) as mrr,
    if(
        billing.is_connected, {{ contract_numeric('coalesce(billed.amount_due, 0)') }}, null
    ) as amount_due,
    if(
        support.is_connected, coalesce(conversations.count_30_days, 0), null
    ) as conversation_count_30_days,
    if(
        support.is_connected, coalesce(conversations.count_90_days, 0), null
    ) as conversation_count_90_days,
    organisations.auto_archive_days,
    coalesce(latest_statistics.user_count, 0) as user_count,
    coalesce(latest_statistics.slack_user_count, 0) as slack_user_count,
    coalesce(latest_statistics.incident_creator_count, 0) as incident_creator_count,
    coalesce(latest_statistics.incident_count, 0) as incident_count,
    coalesce(incidents.open_incident_count, 0) as open_incident_count,
    coalesce(latest_statistics.timeline_item_count, 0) as timeline_item_count,
    coalesce(latest_statistics.open_action_count, 0) as open_action_count,
    coalesce(workflows.enabled_workflow_count, 0) as enabled_workflow_count,
    coalesce(announcement_rules.announcement_rule_count, 0) as announcement_rule_count,

    ---------- booleans
    organisations.setup_completed_at is null as in_setup_flow,
    if(billing.is_connected, coalesce(billed.is_paying, false), null) as is_paying,
    if(billing.is_connected, coalesce(billed.is_in_arrears, false), null) as is_in_arrears,
    organisations.is_archived,
    organisations.has_slack,
    organisations.has_workflows,
    organisations.has_private_incidents,

    ---------- timestamps
    organisations.setup_completed_at,
    incidents.first_incident_created_at,
    incidents.last_incident_created_at,
    last_contacts.contacted_at as last_contacted_at,
    organisations.created_at,
    organisations.updated_at,
    organisations.archived_at

from organisations
cross join support
cross join billing
left join latest_statistics on organisations.id = latest_statistics.organisation_id
left join incidents on organisations.id = incidents.organisation_id
left join workflows on organisations.id = workflows.organisation_id
left join announcement_rules on organisations.id = announcement_rules.organisation_id
left join leads on organisations.id = leads.organisation_id
left join conversations on organisations.id = conversations.organisation_id
left join billed on organisations.id = billed.organisation_id
left join last_contacts on organisations.id = last_contacts.organisation_id
