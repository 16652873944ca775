with organisations as (

    select id
    from {{ ref('stg_product__organisations') }}

),

-- A subscription whose first payment failed never began.
subscriptions as (

    select *
    from {{ ref('stg_stripe__subscriptions') }}
    where status not in ('incomplete', 'incomplete_expired')

)

select
    subscriptions.id,
    organisations.id as organisation_id,
    if(organisations.id is null, subscriptions.customer_id, null) as customer_id,
    subscriptions.is_in_force,
    subscriptions.started_at,
    subscriptions.ended_at
from subscriptions
left join organisations on subscriptions.organisation_id = organisations.id
