"""The whole world: the product, and the tools that the company sells, supports and bills with."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from psycopg import Connection

from sandbox.product import database
from sandbox.product import tick as product_tick
from sandbox.product.database import Clock, running_clock
from sandbox.product.tick import Changes
from sandbox.saas.world import Product, make_history, pass_by


@dataclass(frozen=True)
class Passed:
    """The changes of a tick."""

    clock: Clock
    product: dict[str, Changes]
    """By table."""
    tools: dict[str, int]
    """How many objects have changed, by tool."""


def load(connection: Connection[Any], today: date, scale: float, seed: int) -> None:
    """Create the world, in the connection's transaction."""
    database.load_world(connection, today, scale, seed)
    make_history(connection, Clock(seed, scale, today, ticks=0))


def tick(connection: Connection[Any]) -> Passed:
    """Let a day pass, in the connection's transaction.

    Raises:
        SandboxError: There is no world yet.
    """
    running_clock(connection)
    before = Product.read(connection)
    clock, changes = product_tick.tick(connection)
    return Passed(clock, changes, pass_by(connection, clock, before))
