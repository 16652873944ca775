with source as (

    select *
    from {{ source('intercom', 'admins') }}
    where _sdc_deleted_at is null

),

admin_teams as (

    select
        source.id as admin_id,
        string_agg(teams.name, ', ' order by teams.name) as teams
    from source
    cross join unnest(source.team_ids) as team_id
    inner join {{ source('intercom', 'teams') }} as teams
        on cast(team_id as string) = teams.id
    group by source.id

),

renamed as (

    select
        ---------- ids
        source.id,

        ---------- text
        source.name,
        source.email,
        source.job_title,
        admin_teams.teams,

        ---------- booleans
        source.away_mode_enabled as is_away,
        source.has_inbox_seat

    from source
    left join admin_teams on source.id = admin_teams.admin_id

)

select *
from renamed
