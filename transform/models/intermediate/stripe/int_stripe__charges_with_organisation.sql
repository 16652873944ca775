{{ with_organisation(ref('int_stripe__charges_with_invoice')) }}
