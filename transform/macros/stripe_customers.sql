{#-
    Every customer with its organisation, deleted ones too: what they had stays. What is known of a
    deleted customer is the event that says so.
-#}
{% macro stripe_customers() -%}
    select
        id,
        json_value(metadata, '$.organisation_id') as organisation_id,
        coalesce(updated_by_event_type, '') = 'customer.deleted' as is_deleted
    from {{ source('stripe', 'customers') }}
    where _sdc_deleted_at is null
{%- endmacro %}
