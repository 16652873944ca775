with source as (

    select *
    from {{ ref('int_intercom__admins_with_team_names') }}

),

renamed as (

    select
        ---------- ids
        id,

        ---------- text
        name,
        email,
        job_title,
        team_names as teams,

        ---------- booleans
        away_mode_enabled as is_away,
        has_inbox_seat,
        _sdc_deleted_at is not null as is_deleted

    from source

)

select *
from renamed
