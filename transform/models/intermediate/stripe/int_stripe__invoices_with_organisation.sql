{{ with_organisation(source('stripe', 'invoices')) }}
