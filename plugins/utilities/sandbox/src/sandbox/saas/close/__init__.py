"""Close, the CRM: its API, and the sales team's work in it."""

from sandbox.saas.close import api as api
from sandbox.saas.close import world as world
