"""Intercom, with which the company answers its customers' questions."""

from sandbox.saas.intercom import api as api
from sandbox.saas.intercom import world as world
