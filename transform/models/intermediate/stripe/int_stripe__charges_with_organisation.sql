{{ with_organisation(source('stripe', 'charges')) }}
