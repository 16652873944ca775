{%- set custom_columns = close_custom_columns('stg_close__leads') -%}

with leads as (

    select *
    from {{ ref('int_close__current_leads') }}

),

fields as (

    select *
    from {{ source('close', 'custom_fields') }}
    where _sdc_deleted_at is null

),

-- A field holds one value or a list of values. A value may be the id of a user.
custom_values as (

    select
        leads.id as lead_id,
        fields.name as field_name,
        coalesce(users.name, json_value(item, '$')) as item_text,
        item_number
    from leads
    cross join unnest(json_query_array(leads.custom_fields)) as custom_field
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
        {{ close_custom_value(column, 'field_name', 'field_value') }} as custom_{{ column.name }},
        {% endfor %}
        countif(field_value is not null) as custom_field_count
    from custom_fields
    group by lead_id

)

select
    leads.*,
    {% for column in custom_columns %}
    custom_columns.custom_{{ column.name }},
    {% endfor %}
    coalesce(custom_columns.custom_field_count, 0) as custom_field_count
from leads
left join custom_columns on leads.id = custom_columns.lead_id
