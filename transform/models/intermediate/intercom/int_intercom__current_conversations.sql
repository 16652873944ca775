select source.*
from {{ source('intercom', 'conversations') }} as source
left join {{ source('intercom', 'deleted_conversations') }} as deleted
    on source.id = deleted.id
where
    source._sdc_deleted_at is null
    and deleted.id is null
