select source.*
from {{ source('intercom', 'conversation_parts') }} as source
left join {{ source('intercom', 'deleted_conversations') }} as deleted
    on source.conversation_id = deleted.id
where
    source._sdc_deleted_at is null
    and deleted.id is null
