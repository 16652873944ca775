"""Stripe: the fake of its API, and its data, day by day."""

from sandbox.saas.stripe import api as api
from sandbox.saas.stripe import world as world
