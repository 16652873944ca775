"""Close, the CRM: its API and what the sales team does in it."""

from sandbox.saas.close import api as api
from sandbox.saas.close import world as world
