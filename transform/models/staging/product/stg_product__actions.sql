with source as (

    select *
    from {{ source('product', 'actions') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        organisation_id,
        incident_id,
        assignee_id,

        ---------- text
        description,
        status,
        json_value(external_issue, '$.provider') as external_issue_provider,
        json_value(external_issue, '$.key') as external_issue_key,
        json_value(external_issue, '$.url') as external_issue_url,

        ---------- booleans
        status = 'outstanding' as is_open,
        follow_up as is_follow_up,
        external_issue is not null as has_external_issue,

        ---------- dates
        due_on,

        ---------- timestamps
        completed_at,
        -- An action that was given up has no completion time; the last change is used instead.
        if(status = 'outstanding', null, coalesce(completed_at, updated_at)) as closed_at,
        created_at,
        updated_at

    from source

)

select *
from renamed
