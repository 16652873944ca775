with source as (

    select *
    from {{ source('intercom', 'contacts') }}
    where _sdc_deleted_at is null

),

unnested as (

    select
        source.id as contact_id,
        json_value(company, '$.id') as company_id,
        company_offset + 1 as position
    from source
    cross join unnest(json_query_array(source.companies)) as company with offset as company_offset

),

renamed as (

    select
        ---------- ids
        {{ surrogate_key(['contact_id', 'company_id']) }} as id,
        contact_id,
        company_id,

        ---------- numbers
        position,

        ---------- booleans
        position = 1 as is_first

    from unnested

)

select *
from renamed
