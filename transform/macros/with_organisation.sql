{#- The live rows of a raw table of Stripe whose column `customer` is a customer's id, with the customer's organisation. -#}
{% macro with_organisation(table) -%}
with source as (

    select *
    from {{ table }}
    where _sdc_deleted_at is null

)

select
    source.*,
    customers.organisation_id,
    coalesce(not customers.is_deleted, false) as has_customer
from source
left join {{ ref('int_stripe__customer_organisations') }} as customers
    on source.customer = customers.id
{%- endmacro %}
