with source as (

    select *
    from {{ ref('int_intercom__companies_with_tag_names') }}

),

renamed as (

    select
        ---------- ids
        id,
        -- Intercom's `company_id` is the id that the product gave it.
        company_id as organisation_id,

        ---------- text
        name,
        json_value(plan, '$.name') as plan,
        industry,
        website,
        tag_names as tags,

        ---------- numbers
        monthly_spend,
        size as employee_count,
        user_count,
        session_count,

        ---------- booleans
        lax_bool(
            json_query(custom_attributes, '$.has_completed_setup')
        ) as has_completed_setup,
        lax_bool(json_query(custom_attributes, '$.is_archived')) as is_archived,
        _sdc_deleted_at is not null as is_deleted,

        ---------- timestamps
        remote_created_at as signed_up_at,
        last_request_at as last_seen_at,
        created_at,
        updated_at

    from source

)

select *
from renamed
