with source as (

    select *
    from {{ source('stripe', 'invoice_line_items') }}
    where _sdc_deleted_at is null

),

-- An invoice lists its first ten lines.
invoices as (

    select
        id,
        created,
        json_value_array(`lines`) as line_ids
    from {{ source('stripe', 'invoices') }}
    where _sdc_deleted_at is null and coalesce(updated_by_event_type, '') != 'invoice.deleted'

)

-- Stripe doesn't report a line that was removed from a draft, but its invoice no longer lists it.
select
    source.*,
    invoices.created as invoiced_at
from source
inner join invoices on source.invoice = invoices.id
where
    coalesce(array_length(invoices.line_ids), 0) not between 1 and 9
    or source.id in unnest(invoices.line_ids)
