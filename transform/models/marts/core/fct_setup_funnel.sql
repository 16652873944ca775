with organisations as (

    select *
    from {{ ref('stg_product__organisations') }}

),

colleagues as (

    select
        organisation_id,
        created_at
    from {{ ref('stg_product__users') }}
    qualify row_number() over (partition by organisation_id order by created_at, id) = 2

),

incidents as (

    select
        organisation_id,
        min(created_at) as first_created_at,
        min(closed_at) as first_closed_at
    from {{ ref('stg_product__incidents') }}
    group by organisation_id

),

payments as (

    select
        organisation_id,
        min(paid_at) as first_paid_at
    from {{ ref('stg_stripe__invoices') }}
    where amount_paid > 0
    group by organisation_id

),

billing as (

    select count(*) > 0 as is_connected
    from {{ ref('stg_stripe__customers') }}

),

moments as (

    select
        organisations.id as organisation_id,
        organisations.created_at as signed_up_at,
        colleagues.created_at as colleague_joined_at,
        organisations.setup_completed_at,
        incidents.first_created_at as first_incident_created_at,
        incidents.first_closed_at as first_incident_closed_at,
        payments.first_paid_at,
        billing.is_connected as has_billing
    from organisations
    cross join billing
    left join colleagues on organisations.id = colleagues.organisation_id
    left join incidents on organisations.id = incidents.organisation_id
    left join payments on organisations.id = payments.organisation_id

),

{#- Each step, and the column with the time at which it was taken. -#}
{% set steps = [
    ('Signed up', 'signed_up_at'),
    ('Brought a colleague in', 'colleague_joined_at'),
    ('Completed set-up', 'setup_completed_at'),
    ('Created a first incident', 'first_incident_created_at'),
    ('Closed a first incident', 'first_incident_closed_at'),
    ('Paid a first invoice', 'first_paid_at'),
] %}

steps as (

    {% for step, moment in steps %}
        select
            organisation_id,
            {{ loop.index }} as step_number,
            '{{ step }}' as step,
            {{ moment }} as happened_at,
            {{ 'has_billing' if moment == 'first_paid_at' else 'true' }} as is_known,
            signed_up_at
        from moments
        {{ 'union all' if not loop.last }}
    {% endfor %}

),

reached as (

    select
        *,
        -- An organisation that skipped a step has not reached the steps after it.
        countif(happened_at is null) over up_to_here = 0 as is_reached,
        max(happened_at) over up_to_here as latest_at
    from steps
    window up_to_here as (
        partition by organisation_id order by step_number
        rows between unbounded preceding and current row
    )

),

timed as (

    select
        *,
        if(is_reached, latest_at, null) as reached_at
    from reached

)

select
    ---------- ids
    {{ surrogate_key(['organisation_id', 'cast(step_number as string)']) }} as id,
    organisation_id,

    ---------- text
    step,

    ---------- numbers
    step_number,
    timestamp_diff(reached_at, signed_up_at, minute) / 60 as hours_since_sign_up,
    timestamp_diff(
        reached_at,
        lag(reached_at) over (partition by organisation_id order by step_number),
        minute
    ) / 60 as hours_since_previous_step,

    ---------- booleans
    if(is_known, is_reached, null) as is_reached,

    ---------- timestamps
    signed_up_at,
    happened_at,
    reached_at

from timed
