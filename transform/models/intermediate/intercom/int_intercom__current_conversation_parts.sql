select conversation_parts.*
from {{ source('intercom', 'conversation_parts') }} as conversation_parts
left join {{ source('intercom', 'deleted_conversations') }} as deleted
    on conversation_parts.conversation_id = deleted.id
where
    conversation_parts._sdc_deleted_at is null
    and deleted.id is null
