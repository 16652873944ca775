"""GitHub, where the company keeps its code: as much of it as the example reads."""

from sandbox.saas.github import api as api
from sandbox.saas.github import world as world
