with contacts as (

    select *
    from {{ source('intercom', 'contacts') }}
    where _sdc_deleted_at is null

),

shown as (

    select
        contacts.id as contact_id,
        json_value(company, '$.id') as company_id,
        company_offset + 1 as position
    from contacts
    cross join unnest(json_query_array(contacts.companies)) as company with offset as company_offset

),

more as (

    select
        more.contact_id,
        more.id as company_id
    from {{ source('intercom', 'contact_companies') }} as more
    inner join contacts
        on
            more.contact_id = contacts.id
            and more.contact_updated_at >= contacts.updated_at
    left join shown
        on
            more.contact_id = shown.contact_id
            and more.id = shown.company_id
    where
        more._sdc_deleted_at is null
        and shown.contact_id is null

),

shown_counts as (

    select
        contact_id,
        count(*) as shown_count
    from shown
    group by contact_id

)

select
    contact_id,
    company_id,
    position
from shown
union all
select
    more.contact_id,
    more.company_id,
    coalesce(shown_counts.shown_count, 0) + row_number() over (
        partition by more.contact_id
        order by more.company_id asc
    ) as position
from more
left join shown_counts on more.contact_id = shown_counts.contact_id
