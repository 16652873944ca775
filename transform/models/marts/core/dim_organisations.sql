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

)

select
    ---------- ids
    organisations.id,
    organisations.slack_team_id,
    -- Filled once the CRM and billing are connected.
    cast(null as string) as lead_id,

    ---------- text
    organisations.name,
    organisations.slug,
    organisations.tags,
    organisations.default_severity,

    ---------- numbers
    -- In a contract, dbt warns of NUMERIC without a precision and BigQuery refuses it with one.
    cast(organisations.annual_contract_value as bignumeric) as annual_contract_value,
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
    cast(null as bool) as is_paying,
    organisations.is_archived,
    organisations.has_slack,
    organisations.has_workflows,
    organisations.has_private_incidents,

    ---------- timestamps
    organisations.setup_completed_at,
    incidents.first_incident_created_at,
    incidents.last_incident_created_at,
    organisations.created_at,
    organisations.updated_at,
    organisations.archived_at

from organisations
left join latest_statistics on organisations.id = latest_statistics.organisation_id
left join incidents on organisations.id = incidents.organisation_id
left join workflows on organisations.id = workflows.organisation_id
left join announcement_rules on organisations.id = announcement_rules.organisation_id
