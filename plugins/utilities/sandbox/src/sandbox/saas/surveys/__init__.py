"""A survey tool: no vendor's API, with pages by a cursor."""

from sandbox.saas.surveys import api as api
from sandbox.saas.surveys import world as world
