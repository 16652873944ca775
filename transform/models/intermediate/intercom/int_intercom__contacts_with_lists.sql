with contacts as (

    select *
    from {{ ref('int_intercom__contacts_with_tag_names') }}

),

company_counts as (

    select
        contact_id,
        count(*) as company_count
    from {{ ref('int_intercom__contact_companies') }}
    group by contact_id

)

select
    contacts.*,
    coalesce(company_counts.company_count, 0) as company_count
from contacts
left join company_counts on contacts.id = company_counts.contact_id
