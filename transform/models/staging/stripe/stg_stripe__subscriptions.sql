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
        schedule as schedule_id,

        ---------- text
        status,
        collection_method,
        json_value(pause_collection, '$.behavior') as paused_collection,
        json_value(status_details, '$.paused.subscription.type') as pause_reason,

        ---------- booleans
        status in ('active', 'past_due') as is_in_force,
        status = 'trialing' as is_trial,
        status = 'past_due' as is_past_due,
        ended_at is null
        and (coalesce(cancel_at_period_end, false) or cancel_at is not null) as is_ending,
        has_customer,

        ---------- timestamps
        start_date as started_at,
        trial_start as trial_started_at,
        trial_end as trial_ends_at,
        period_started_at as current_period_started_at,
        period_ends_at as current_period_ends_at,
        {{ json_timestamp('pause_collection', '$.resumes_at') }} as collection_resumes_at,
        {{ json_timestamp('status_details', '$.paused.transitioned_at') }} as paused_at,
        coalesce(
            cancel_at, if(coalesce(cancel_at_period_end, false), period_ends_at, null)
        ) as ends_at,
        canceled_at,
        ended_at,
        created as created_at,
        if(api_version is null, updated, null) as updated_at

    from source

)

select *
from renamed
