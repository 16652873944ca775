with source as (

    select *
    from {{ source('intercom', 'companies') }}
    where _sdc_deleted_at is null

),

-- A company holds only the ids of its tags.
company_tags as (

    select
        source.id as company_id,
        string_agg(tags.name, ', ' order by tags.name) as tags
    from source
    cross join unnest(json_query_array(source.tags)) as tag
    inner join {{ source('intercom', 'tags') }} as tags
        on json_value(tag, '$.id') = tags.id
    group by source.id

),

renamed as (

    select
        ---------- ids
        source.id,
        -- Intercom's `company_id` is the id that the product gave it.
        source.company_id as organisation_id,

        ---------- text
        source.name,
        json_value(source.plan, '$.name') as plan,
        source.industry,
        source.website,
        company_tags.tags,

        ---------- numbers
        source.monthly_spend,
        source.size as employee_count,
        source.user_count,
        source.session_count,

        ---------- booleans
        lax_bool(
            json_query(source.custom_attributes, '$.has_completed_setup')
        ) as has_completed_setup,
        lax_bool(json_query(source.custom_attributes, '$.is_archived')) as is_archived,

        ---------- timestamps
        source.remote_created_at as signed_up_at,
        source.last_request_at as last_seen_at,
        source.created_at,
        source.updated_at

    from source
    left join company_tags on source.id = company_tags.company_id

)

select *
from renamed
