{%- set custom_columns = close_custom_columns('stg_close__leads') -%}

with source as (

    select *
    from {{ ref('int_close__leads_with_custom_columns') }}

),

renamed as (

    select
        ---------- ids
        id,

        ---------- custom fields
        {% for column in custom_columns %}
        custom_{{ column.name }} as {{ column.name }},
        {% endfor %}

        ---------- text
        display_name as name,
        nullif(description, '') as description,
        url as website,
        html_url as close_url,
        status_label as status,
        created_by_name as created_by,
        json_value(contacts, '$[0].display_name') as first_contact_name,
        json_value(contacts, '$[0].emails[0].email') as first_contact_email,

        ---------- numbers
        coalesce(array_length(json_query_array(contacts)), 0) as contact_count,
        coalesce(array_length(json_query_array(opportunities)), 0) as opportunity_count,
        custom_field_count,

        ---------- timestamps
        date_created as created_at,
        date_updated as updated_at

    from source

)

select *
from renamed
