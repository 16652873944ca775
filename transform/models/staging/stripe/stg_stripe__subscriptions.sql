with source as (

    select *
    from {{ ref('int_stripe__subscriptions_with_organisation') }}

),

renamed as (

    select
        ---------- ids
        id,
        customer as customer_id,
        organisation_id,
        latest_invoice as latest_invoice_id,

        ---------- text
        status,
        collection_method,

        ---------- booleans
        status in ('active', 'past_due') as is_in_force,
        status = 'trialing' as is_trial,
        status = 'past_due' as is_past_due,
        coalesce(cancel_at_period_end, false) and ended_at is null as is_ending,
        has_customer,

        ---------- timestamps
        start_date as started_at,
        trial_start as trial_started_at,
        trial_end as trial_ends_at,
        current_period_start as current_period_started_at,
        current_period_end as current_period_ends_at,
        canceled_at,
        ended_at,
        created as created_at,
        updated as updated_at

    from source

)

select *
from renamed
