with source as (

    select *
    from {{ source('stripe', 'invoice_line_items') }}
    where _sdc_deleted_at is null

),

-- An invoice lists its lines, the first ten of them.
invoices as (

    select
        id,
        created,
        json_value_array(`lines`) as line_ids
    from {{ source('stripe', 'invoices') }}
    where _sdc_deleted_at is null and coalesce(updated_by_event_type, '') != 'invoice.deleted'

)

-- Nothing says that a line was taken off a draft, but its invoice lists it no longer.
select
    source.*,
    invoices.created as invoiced_at
from source
inner join invoices on source.invoice = invoices.id
where
    coalesce(array_length(invoices.line_ids), 0) not between 1 and 9
    or source.id in unnest(invoices.line_ids)
