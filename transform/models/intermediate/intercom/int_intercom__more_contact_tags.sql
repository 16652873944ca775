select
    more.contact_id,
    more.id
from {{ source('intercom', 'contact_tags') }} as more
inner join {{ source('intercom', 'contacts') }} as contacts
    on
        more.contact_id = contacts.id
        and more.contact_updated_at >= contacts.updated_at
where more._sdc_deleted_at is null
