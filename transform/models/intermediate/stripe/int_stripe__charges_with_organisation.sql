with source as (

    select *
    from {{ source('stripe', 'charges') }}
    where _sdc_deleted_at is null

)

select
    source.*,
    customers.organisation_id,
    coalesce(not customers.is_deleted, false) as has_customer
from source
left join {{ ref('int_stripe__customer_organisations') }} as customers
    on source.customer = customers.id
