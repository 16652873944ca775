"""A monitoring tool: no vendor's API, with numbered pages."""

from sandbox.saas.uptime import api as api
from sandbox.saas.uptime import world as world
