with source as (

    select
        leads.id as lead_id,
        opportunity
    from {{ ref('int_close__current_leads') }} as leads
    cross join unnest(json_query_array(leads.opportunities)) as opportunity

),

parsed as (

    select
        *,
        {{ from_minor_units(
            "safe_cast(json_value(opportunity, '$.value') as numeric)",
            "json_value(opportunity, '$.value_currency')"
        ) }} as value,
        json_value(opportunity, '$.status_type') as status_type,
        json_value(opportunity, '$.value_period') as value_period
    from source

),

renamed as (

    select
        ---------- ids
        json_value(opportunity, '$.id') as id,
        lead_id,
        json_value(opportunity, '$.contact_id') as contact_id,
        json_value(opportunity, '$.user_id') as owner_id,

        ---------- text
        json_value(opportunity, '$.user_name') as owner,
        json_value(opportunity, '$.contact_name') as contact_name,
        json_value(opportunity, '$.pipeline_name') as pipeline,
        json_value(opportunity, '$.status_label') as status,
        status_type,
        nullif(json_value(opportunity, '$.note'), '') as note,
        value_period,
        json_value(opportunity, '$.value_currency') as currency,

        ---------- numbers
        value,
        value * if(value_period = 'monthly', 12, 1) as annual_value,
        lax_int64(json_query(opportunity, '$.confidence')) as confidence,

        ---------- booleans
        status_type = 'active' as is_open,
        status_type = 'won' as is_won,
        status_type = 'lost' as is_lost,

        ---------- dates
        -- People may correct the day of a win, which has no time; the tap adds midnight.
        if(
            status_type = 'won',
            date(safe_cast(json_value(opportunity, '$.date_won') as timestamp)),
            null
        ) as won_on,
        if(
            status_type = 'lost',
            date(safe_cast(json_value(opportunity, '$.date_lost') as timestamp)),
            null
        ) as lost_on,

        ---------- timestamps
        safe_cast(json_value(opportunity, '$.date_created') as timestamp) as created_at,
        safe_cast(json_value(opportunity, '$.date_updated') as timestamp) as updated_at

    from parsed

)

select *
from renamed
