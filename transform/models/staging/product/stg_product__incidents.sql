with source as (

    select *
    from {{ source('product', 'incidents') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        organisation_id,
        creator_id,
        lead_id as incident_lead_id,

        ---------- text
        concat('INC-', cast(reference as string)) as reference,
        name,
        summary,
        status,
        severity,
        nullif(array_to_string(labels, ', '), '') as labels,
        json_value(custom_fields, '$.affected_team') as affected_team,
        json_value(custom_fields, '$.cause.kind') as cause_kind,
        json_value(custom_fields, '$.cause.detail') as cause_detail,

        ---------- numbers
        reference as reference_number,
        lax_int64(json_query(custom_fields, '$.customers_affected')) as customers_affected,
        estimated_cost,

        ---------- booleans
        status not in ('closed', 'declined') as is_open,
        visibility = 'private' as is_private,
        test as is_test,
        archived_at is not null as is_archived,

        ---------- timestamps
        detected_at,
        resolved_at,
        closed_at,
        created_at,
        updated_at,
        archived_at

    from source

)

select *
from renamed
