"""Fakes of the APIs of Close, Intercom and Stripe, and what happens in them day by day."""
