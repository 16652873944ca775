with source as (

    select *
    from {{ source('stripe', 'disputes') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        charge as charge_id,
        payment_intent as payment_intent_id,

        ---------- text
        status,
        reason,
        upper(currency) as currency,

        ---------- numbers
        {{ from_minor_units('amount', 'currency') }} as amount,

        ---------- booleans
        status in ('won', 'lost', 'prevented', 'warning_closed') as is_closed,
        status = 'lost' as is_lost,
        is_charge_refundable as is_refundable,

        ---------- timestamps
        {{ json_timestamp('evidence_details', '$.due_by') }} as answer_due_at,
        created as created_at

    from source

)

select *
from renamed
