{{ with_tag_names(source('intercom', 'companies')) }}
