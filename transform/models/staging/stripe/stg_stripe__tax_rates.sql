with source as (

    select *
    from {{ source('stripe', 'tax_rates') }}
    where _sdc_deleted_at is null

),

renamed as (

    select
        ---------- ids
        id,

        ---------- text
        display_name as name,
        description,
        tax_type,
        country,
        state,
        jurisdiction,

        ---------- numbers
        safe_cast(percentage as numeric) as percentage,

        ---------- booleans
        inclusive as is_inclusive,
        active as is_active,

        ---------- timestamps
        created as created_at

    from source

)

select *
from renamed
