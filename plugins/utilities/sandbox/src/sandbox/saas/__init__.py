"""Fakes of the APIs of Close, Intercom and Stripe, and their data, day by day."""
