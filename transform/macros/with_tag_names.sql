{#-
    The rows of a raw table of Intercom whose column `tags` lists tags by id, with the names of these tags.
    `more_tags` is a relation of more of them: `contact_id`, `id`.
-#}
{% macro with_tag_names(table, more_tags=none) -%}
with source as (

    select *
    from {{ table }}

),

tag_ids as (

    select
        source.id,
        json_value(tag, '$.id') as tag_id
    from source
    cross join unnest(json_query_array(source.tags)) as tag
    {% if more_tags %}
    union distinct
    select
        contact_id as id,
        id as tag_id
    from {{ more_tags }}
    {% endif %}

),

names as (

    select
        tag_ids.id,
        string_agg(tags.name, ', ' order by tags.name) as tag_names
    from tag_ids
    inner join {{ source('intercom', 'tags') }} as tags
        on tag_ids.tag_id = tags.id
    group by tag_ids.id

)

select
    source.*,
    names.tag_names
from source
left join names on source.id = names.id
{%- endmacro %}
