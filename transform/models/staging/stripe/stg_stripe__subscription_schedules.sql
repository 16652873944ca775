with source as (

    select *
    from {{ source('stripe', 'subscription_schedules') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        customer as customer_id,
        coalesce(subscription, released_subscription) as subscription_id,

        ---------- text
        status,
        end_behavior,

        ---------- numbers
        array_length(json_query_array(phases)) as phase_count,

        ---------- timestamps
        {{ json_timestamp('phases', '$[0].start_date') }} as started_at,
        {{ json_timestamp('current_phase', '$.start_date') }} as current_phase_started_at,
        {{ json_timestamp('current_phase', '$.end_date') }} as current_phase_ends_at,
        completed_at,
        released_at,
        canceled_at,
        created as created_at

    from source

)

select *
from renamed
