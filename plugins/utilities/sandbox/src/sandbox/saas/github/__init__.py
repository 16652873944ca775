"""GitHub, which holds the company's code: the part that the example reads."""

from sandbox.saas.github import api as api
from sandbox.saas.github import world as world
