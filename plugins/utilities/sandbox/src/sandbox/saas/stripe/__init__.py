"""Stripe: the fake of its API, and what happens in it day by day."""

from sandbox.saas.stripe import api as api
from sandbox.saas.stripe import world as world
