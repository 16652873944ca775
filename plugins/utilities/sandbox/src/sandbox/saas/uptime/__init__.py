"""A tool that watches whether the product answers; nobody's API, with numbered pages."""

from sandbox.saas.uptime import api as api
from sandbox.saas.uptime import world as world
