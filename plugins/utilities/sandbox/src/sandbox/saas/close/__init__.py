"""Close, the CRM: its API and what the sales team does in it."""
