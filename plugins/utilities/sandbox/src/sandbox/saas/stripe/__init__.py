"""Stripe: the stand-in for its API, and what happens in it day by day."""
