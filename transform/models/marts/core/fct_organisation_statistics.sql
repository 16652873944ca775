{#- Partitioned by month: a job may write 4,000 partitions, as many as days in eleven years. -#}
{{
    config(
        partition_by={'field': 'day', 'data_type': 'date', 'granularity': 'month'},
        cluster_by=['organisation_id', 'day'],
    )
}}

with organisations as (

    select
        id,
        coalesce({{ bounded_day('date(created_at)') }}, {{ today() }}) as first_day,
        coalesce({{ bounded_day('date(archived_at)') }}, {{ today() }}) as last_day
    from {{ ref('stg_product__organisations') }}

),

users as (

    select *
    from {{ ref('stg_product__users') }}

),

incidents as (

    select *
    from {{ ref('stg_product__incidents') }}
    where not is_test

),

timeline_items as (

    select timeline_items.*
    from {{ ref('stg_product__timeline_items') }} as timeline_items
    inner join incidents on timeline_items.incident_id = incidents.id

),

actions as (

    select actions.*
    from {{ ref('stg_product__actions') }} as actions
    inner join incidents on actions.incident_id = incidents.id

),

-- Each event that raises or lowers a measure, with its day.
changes as (

    select
        organisation_id,
        date(created_at) as changed_on,
        'user' as measure,
        1 as change
    from users

    union all

    select
        organisation_id,
        -- Not before the user was created, or a count would be negative.
        date(greatest(archived_at, created_at)) as changed_on,
        'user' as measure,
        -1 as change
    from users
    where archived_at is not null

    union all

    select
        organisation_id,
        date(created_at) as changed_on,
        'slack_user' as measure,
        1 as change
    from users
    where has_slack

    union all

    select
        organisation_id,
        date(greatest(archived_at, created_at)) as changed_on,
        'slack_user' as measure,
        -1 as change
    from users
    where has_slack and archived_at is not null

    union all

    select
        organisation_id,
        date(created_at) as changed_on,
        'incident' as measure,
        1 as change
    from incidents

    union all

    -- A user counts from the first incident that they created.
    select
        organisation_id,
        date(min(created_at)) as changed_on,
        'incident_creator' as measure,
        1 as change
    from incidents
    group by organisation_id, creator_id

    union all

    select
        organisation_id,
        date(created_at) as changed_on,
        'timeline_item' as measure,
        1 as change
    from timeline_items

    union all

    select
        organisation_id,
        date(created_at) as changed_on,
        'open_action' as measure,
        1 as change
    from actions

    union all

    select
        organisation_id,
        date(greatest(closed_at, created_at)) as changed_on,
        'open_action' as measure,
        -1 as change
    from actions
    where closed_at is not null

),

daily_changes as (

    select
        changes.organisation_id,
        -- What is older than the organisation (an import) counts from the organisation's first day.
        greatest(changes.changed_on, organisations.first_day) as day,
        sum(if(changes.measure = 'user', changes.change, 0)) as user_change,
        sum(if(changes.measure = 'slack_user', changes.change, 0)) as slack_user_change,
        sum(if(changes.measure = 'incident', changes.change, 0)) as incident_change,
        sum(if(changes.measure = 'incident_creator', changes.change, 0)) as incident_creator_change,
        sum(if(changes.measure = 'timeline_item', changes.change, 0)) as timeline_item_change,
        sum(if(changes.measure = 'open_action', changes.change, 0)) as open_action_change
    from changes
    inner join organisations on changes.organisation_id = organisations.id
    group by changes.organisation_id, day

),

days as (

    select
        organisations.id as organisation_id,
        day
    from organisations
    cross join
        unnest(
            generate_date_array(
                organisations.first_day, greatest(organisations.first_day, organisations.last_day)
            )
        ) as day

),

totals as (

    select
        days.organisation_id,
        days.day,
        sum(daily_changes.user_change) over to_date as user_count,
        sum(daily_changes.slack_user_change) over to_date as slack_user_count,
        sum(daily_changes.incident_change) over to_date as incident_count,
        sum(daily_changes.incident_creator_change) over to_date as incident_creator_count,
        sum(daily_changes.timeline_item_change) over to_date as timeline_item_count,
        sum(daily_changes.open_action_change) over to_date as open_action_count
    from days
    left join daily_changes
        on days.organisation_id = daily_changes.organisation_id and days.day = daily_changes.day
    window to_date as (
        partition by days.organisation_id
        order by days.day
        rows between unbounded preceding and current row
    )

)

select
    ---------- ids
    {{ surrogate_key(['organisation_id', 'cast(day as string)']) }} as id,
    organisation_id,

    ---------- dates
    day,

    ---------- numbers
    coalesce(user_count, 0) as user_count,
    coalesce(slack_user_count, 0) as slack_user_count,
    coalesce(incident_count, 0) as incident_count,
    coalesce(incident_creator_count, 0) as incident_creator_count,
    coalesce(timeline_item_count, 0) as timeline_item_count,
    coalesce(open_action_count, 0) as open_action_count

from totals
