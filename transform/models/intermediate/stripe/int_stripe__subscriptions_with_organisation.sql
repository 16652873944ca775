{{ with_organisation(source('stripe', 'subscriptions')) }}
