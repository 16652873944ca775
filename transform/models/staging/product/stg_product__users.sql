with source as (

    select *
    from {{ source('product', 'users') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,
        organisation_id,
        slack_user_id,

        ---------- text
        name,
        email,
        role,
        time_zone,
        json_value(preferences, '$.locale') as locale,
        json_value(preferences, '$.theme') as theme,

        ---------- booleans
        active as is_active,
        archived_at is not null as is_archived,
        slack_user_id is not null as has_slack,
        lax_bool(json_query(preferences, '$.notifications.email')) as has_email_notifications,
        lax_bool(json_query(preferences, '$.notifications.sms')) as has_sms_notifications,

        ---------- timestamps
        last_seen_at,
        created_at,
        updated_at,
        archived_at

    from source

)

select *
from renamed
