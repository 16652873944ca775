{%- set custom_columns = close_custom_columns(model) -%}

with source as (

    select *
    from {{ source('close', 'leads') }}
    where _sdc_deleted_at is null

),

fields as (

    select *
    from {{ source('close', 'custom_fields') }}
    where _sdc_deleted_at is null

),

-- A lead that was merged into another is deleted too.
deleted as (

    select distinct object_id as lead_id
    from {{ source('close', 'event_log') }}
    where _sdc_deleted_at is null and object_type = 'lead' and action = 'deleted'

),

-- A field holds one value or a list of them; a value may be the id of a user.
custom_values as (

    select
        source.id as lead_id,
        fields.name as field_name,
        coalesce(users.name, json_value(item, '$')) as item_text,
        item_number
    from source
    cross join unnest(json_query_array(source.custom_fields)) as custom_field
    inner join fields on json_value(custom_field, '$.id') = fields.id
    cross join
        unnest(
            if(
                json_type(json_query(custom_field, '$.value')) = 'array',
                json_query_array(custom_field, '$.value'),
                [json_query(custom_field, '$.value')]
            )
        ) as item
        with offset as item_number
    left join {{ ref('stg_close__users') }} as users
        on fields.type = 'user' and json_value(item, '$') = users.id

),

custom_fields as (

    select
        lead_id,
        field_name,
        string_agg(item_text, ', ' order by item_number) as field_value
    from custom_values
    group by lead_id, field_name

),

custom_columns as (

    select
        lead_id,
        {% for column in custom_columns %}
        {{ close_custom_value(column, 'field_name', 'field_value') }} as {{ column.name }},
        {% endfor %}
        countif(field_value is not null) as custom_field_count
    from custom_fields
    group by lead_id

),

renamed as (

    select
        ---------- ids
        source.id,

        ---------- custom fields
        {% for column in custom_columns %}
        custom_columns.{{ column.name }},
        {% endfor %}

        ---------- text
        source.display_name as name,
        nullif(source.description, '') as description,
        source.url as website,
        source.html_url as close_url,
        source.status_label as status,
        source.created_by_name as created_by,
        json_value(source.contacts, '$[0].display_name') as first_contact_name,
        json_value(source.contacts, '$[0].emails[0].email') as first_contact_email,

        ---------- numbers
        coalesce(array_length(json_query_array(source.contacts)), 0) as contact_count,
        coalesce(array_length(json_query_array(source.opportunities)), 0) as opportunity_count,
        coalesce(custom_columns.custom_field_count, 0) as custom_field_count,

        ---------- timestamps
        source.date_created as created_at,
        source.date_updated as updated_at

    from source
    left join custom_columns on source.id = custom_columns.lead_id
    left join deleted on source.id = deleted.lead_id
    where deleted.lead_id is null

)

select *
from renamed
