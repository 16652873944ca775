select conversations.*
from {{ source('intercom', 'conversations') }} as conversations
left join {{ source('intercom', 'deleted_conversations') }} as deleted
    on conversations.id = deleted.id
where
    conversations._sdc_deleted_at is null
    and deleted.id is null
