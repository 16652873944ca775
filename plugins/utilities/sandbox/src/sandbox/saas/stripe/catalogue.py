"""The company's products, and the price of each per month or year in each currency."""

from datetime import datetime

from sandbox.saas.documents import Body
from sandbox.saas.stripe.objects import make_plan, make_product

PRODUCTS = {
    "team": ("Team", "Incident response for one team", "seat"),
    "business": ("Business", "Incident response for all of engineering", "seat"),
    "enterprise": ("Enterprise", "Unlimited seats, single sign-on and an audit log", None),
    "status-pages": ("Status pages", "Tell customers what is going on", "seat"),
}
MONTHLY = {
    "team": {"usd": 1900, "eur": 1800, "gbp": 1600, "jpy": 2800},
    "business": {"usd": 3900, "eur": 3700, "gbp": 3300, "jpy": 5900},
    "enterprise": {"usd": 250_000, "eur": 230_000, "gbp": 200_000, "jpy": 380_000},
    "status-pages": {"usd": 499, "eur": 459, "gbp": 399, "jpy": 750},
}
"""In the currency's smallest unit; yen have none smaller than one. A year costs ten months."""
MONTHS_A_YEAR_COSTS = 10
MONTHS = {"month": 1, "year": 12}


def product_id(product: str) -> str:
    """Return Stripe's ID of a product."""
    return f"prod_{product.replace('-', '_')}"


def products(at: datetime) -> list[Body]:
    """Return all products."""
    return [
        make_product(product_id(product), name, description, unit, at)
        for product, (name, description, unit) in PRODUCTS.items()
    ]


def plans(at: datetime) -> list[Body]:
    """Return all prices of the first day."""
    return [
        make_plan(
            plan_key(product, interval, currency),
            f"{PRODUCTS[product][0]}, {interval}ly",
            product_id(product),
            amount * (1 if interval == "month" else MONTHS_A_YEAR_COSTS),
            currency,
            interval,
            at,
        )
        for product, amounts in MONTHLY.items()
        for currency, amount in amounts.items()
        for interval in MONTHS
    ]


def plan_key(product: str, interval: str, currency: str) -> str:
    """Return a plan's key, which is its ID until a more expensive plan replaces it."""
    return f"{product}-{interval}ly-{currency}"


def key_of(plan: Body) -> str:
    """Return the key of a plan or of its successor."""
    return str(plan["id"]).split(".")[0]


def product_of(plan: Body) -> str:
    """Return the product of a plan."""
    return next(product for product in PRODUCTS if product_id(product) == plan["product"])


def successor(plan: Body, number: int, at: datetime) -> Body:
    """Return the plan for new subscriptions after the price rise."""
    return make_plan(
        f"{key_of(plan)}.{number}",
        plan["nickname"],
        plan["product"],
        round(plan["amount"] * 1.05),
        plan["currency"],
        plan["interval"],
        at,
    )
