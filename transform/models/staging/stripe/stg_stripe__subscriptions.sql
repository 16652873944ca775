with source as (

    select *
    from {{ source('stripe', 'subscriptions') }}
    where _sdc_deleted_at is null

),

-- Deleted customers too: what they subscribed to stays.
customers as (

    {{ stripe_customers() }}

),

renamed as (

    select
        ---------- ids
        source.id,
        source.customer as customer_id,
        customers.organisation_id,
        source.latest_invoice as latest_invoice_id,

        ---------- text
        source.status,
        source.collection_method,

        ---------- booleans
        source.status in ('active', 'past_due') as is_in_force,
        source.status = 'trialing' as is_trial,
        source.status = 'past_due' as is_past_due,
        coalesce(source.cancel_at_period_end, false) and source.ended_at is null as is_ending,
        coalesce(not customers.is_deleted, false) as has_customer,

        ---------- timestamps
        source.start_date as started_at,
        source.trial_start as trial_started_at,
        source.trial_end as trial_ends_at,
        source.current_period_start as current_period_started_at,
        source.current_period_end as current_period_ends_at,
        source.canceled_at,
        source.ended_at,
        source.created as created_at,
        source.updated as updated_at

    from source
    left join customers on source.customer = customers.id

)

select *
from renamed
