with source as (

    select *
    from {{ ref('int_stripe__charges_with_organisation') }}

),

renamed as (

    select
        ---------- ids
        id,
        customer as customer_id,
        organisation_id,
        invoice_id,
        payment_intent as payment_intent_id,

        ---------- text
        status,
        description,
        failure_code,
        failure_message,
        json_value(payment_method_details, '$.type') as payment_method,
        json_value(payment_method_details, '$.card.brand') as card_brand,
        upper(currency) as currency,

        ---------- numbers
        {{ from_minor_units('amount', 'currency') }} as amount,
        {{ from_minor_units('amount_refunded', 'currency') }} as amount_refunded,

        ---------- booleans
        status = 'succeeded' as is_successful,
        refunded as is_refunded,
        disputed as is_disputed,
        has_customer,

        ---------- timestamps
        created as created_at,
        if(api_version is null, updated, null) as updated_at

    from source

)

select *
from renamed
