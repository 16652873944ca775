{{ with_tag_names(
    source('intercom', 'contacts'),
    more_tags=ref('int_intercom__more_contact_tags')
) }}
