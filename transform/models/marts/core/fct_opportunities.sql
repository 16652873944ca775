with opportunities as (

    select
        *,
        case
            when is_won then won_on
            when is_lost then lost_on
        end as closed_on,
        case
            when is_won then 100
            when is_lost then 0
            else confidence
        end as likelihood
    from {{ ref('stg_close__opportunities') }}

),

leads as (

    select *
    from {{ ref('stg_close__leads') }}

)

select
    ---------- ids
    opportunities.id,
    opportunities.lead_id,
    -- Close may still have organisations that the product has deleted.
    organisations.id as organisation_id,

    ---------- text
    leads.name as lead_name,
    leads.status as lead_status,
    leads.owner as lead_owner,
    opportunities.owner,
    opportunities.contact_name,
    opportunities.pipeline,
    opportunities.status,
    opportunities.note,
    opportunities.value_period,
    opportunities.currency,

    ---------- numbers
    {{ contract_numeric('opportunities.value') }} as value,
    {{ contract_numeric('opportunities.annual_value') }} as annual_value,
    {{ contract_numeric(
        "safe_multiply(opportunities.annual_value, opportunities.likelihood * numeric '0.01')"
    ) }} as expected_annual_value,
    opportunities.confidence,
    date_diff(opportunities.closed_on, date(opportunities.created_at), day) as days_to_close,

    ---------- booleans
    opportunities.is_open,
    opportunities.is_won,
    opportunities.is_lost,

    ---------- dates
    opportunities.won_on,
    opportunities.lost_on,
    opportunities.closed_on,

    ---------- timestamps
    opportunities.created_at,
    opportunities.updated_at

from opportunities
inner join leads on opportunities.lead_id = leads.id
left join {{ ref('stg_product__organisations') }} as organisations
    on leads.organisation_id = organisations.id
