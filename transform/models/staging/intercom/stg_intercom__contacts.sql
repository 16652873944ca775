with source as (

    select *
    from {{ ref('int_intercom__contacts_with_lists') }}

),

renamed as (

    select
        ---------- ids
        id,
        -- A lead's external_id is made by Intercom.
        if(role = 'user', external_id, null) as user_id,
        json_value(companies, '$[0].id') as company_id,

        ---------- text
        role,
        -- A deleted contact stays, because conversations refer to it, but says no more who it was.
        if(_sdc_deleted_at is null, name, null) as name,
        if(_sdc_deleted_at is null, email, null) as email,
        if(_sdc_deleted_at is null, phone, null) as phone,
        tag_names as tags,
        json_value(location, '$.country') as country,
        json_value(location, '$.city') as city,
        browser,
        os as operating_system,

        ---------- numbers
        company_count,

        ---------- booleans
        role = 'user' as is_user,
        role = 'lead' as is_lead,
        unsubscribed_from_emails as has_unsubscribed,
        has_hard_bounced as has_bounced,
        marked_email_as_spam as has_marked_as_spam,
        _sdc_deleted_at is not null as is_deleted,

        ---------- timestamps
        signed_up_at,
        last_seen_at,
        last_replied_at,
        last_contacted_at,
        last_email_opened_at,
        created_at,
        updated_at

    from source

),

final as (

    select
        *,
        -- A user whose contact was deleted in Intercom and created again has two contacts here.
        user_id is null or row_number() over (
            partition by user_id
            order by is_deleted asc, updated_at desc, created_at desc, id asc
        ) = 1 as is_primary
    from renamed

)

select *
from final
