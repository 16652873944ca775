with source as (

    select *
    from {{ source('intercom', 'companies') }}
    where _sdc_deleted_at is null

),

names as (

    select
        source.id as company_id,
        string_agg(tags.name, ', ' order by tags.name) as tag_names
    from source
    cross join unnest(json_query_array(source.tags)) as tag
    inner join {{ source('intercom', 'tags') }} as tags
        on json_value(tag, '$.id') = tags.id
    group by source.id

)

select
    source.*,
    names.tag_names
from source
left join names on source.id = names.company_id
