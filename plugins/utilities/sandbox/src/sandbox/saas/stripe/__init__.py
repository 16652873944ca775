"""Stripe: the fake of its API, and what happens in it day by day."""
