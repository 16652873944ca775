with source as (

    select *
    from {{ source('intercom', 'admins') }}

),

names as (

    select
        source.id as admin_id,
        string_agg(teams.name, ', ' order by teams.name) as team_names
    from source
    cross join unnest(source.team_ids) as team_id
    inner join {{ source('intercom', 'teams') }} as teams
        on cast(team_id as string) = teams.id
    group by source.id

)

select
    source.*,
    names.team_names
from source
left join names on source.id = names.admin_id
