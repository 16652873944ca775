with source as (

    select *
    from {{ source('product', 'organisations') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        slack_team_id,

        ---------- text
        name,
        slug,
        nullif(array_to_string(tags, ', '), '') as tags,
        json_value(settings, '$.default_severity') as default_severity,

        ---------- numbers
        annual_contract_value,
        lax_int64(json_query(settings, '$.auto_archive_days')) as auto_archive_days,

        ---------- booleans
        slack_team_id is not null as has_slack,
        lax_bool(json_query(settings, '$.features.workflows')) as has_workflows,
        lax_bool(json_query(settings, '$.features.private_incidents')) as has_private_incidents,
        archived_at is not null as is_archived,

        ---------- timestamps
        setup_completed_at,
        created_at,
        updated_at,
        archived_at

    from source

)

select *
from renamed
