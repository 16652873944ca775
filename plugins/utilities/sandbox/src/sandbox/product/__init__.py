"""The product database of an incident-management SaaS: generated, and growing every day."""
