with source as (

    select *
    from {{ ref('int_intercom__contact_companies') }}

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

    from source

)

select *
from renamed
