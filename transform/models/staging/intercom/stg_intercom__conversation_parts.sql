with source as (

    select *
    from {{ ref('int_intercom__current_conversation_parts') }}

),

renamed as (

    select
        ---------- ids
        id,
        conversation_id,
        json_value(author, '$.id') as author_id,
        -- JSON; in rows of tap-intercom as Python prints it, with single quotes.
        if(
            regexp_contains(assigned_to, r'.type.: .admin.'),
            regexp_extract(assigned_to, r'.id.: .?(\d+)'),
            null
        ) as assigned_admin_id,
        if(
            regexp_contains(assigned_to, r'.type.: .team.'),
            regexp_extract(assigned_to, r'.id.: .?(\d+)'),
            null
        ) as assigned_team_id,

        ---------- text
        part_type,
        json_value(author, '$.type') as author_type,
        json_value(author, '$.name') as author_name,
        json_value(author, '$.email') as author_email,
        nullif(trim(body), '') as body,

        ---------- booleans
        json_value(author, '$.type') in ('user', 'lead', 'contact') as is_from_customer,
        json_value(author, '$.type') in ('admin', 'team') as is_from_us,
        -- Any text that the other side sees, also when written while closing.
        part_type != 'note' and nullif(trim(body), '') is not null as is_message,
        part_type = 'note' as is_note,
        redacted as is_redacted,

        ---------- timestamps
        created_at,
        updated_at

    from source

)

select *
from renamed
