{#- The live rows of a raw table of Intercom whose column `tags` lists tags by id, with the names of these tags. -#}
{% macro with_tag_names(table) -%}
with source as (

    select *
    from {{ table }}
    where _sdc_deleted_at is null

),

names as (

    select
        source.id,
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
left join names on source.id = names.id
{%- endmacro %}
