"""Prices: what a quantity comes to in a period and in a month; and the sample company's products.

A price's terms are the world's own: invoices and the ledger are computed from them, and the price
that the API shows is made of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any

from sandbox.saas.day import epoch
from sandbox.saas.documents import Body
from sandbox.saas.stripe.objects import make

STEPS = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10}
"""What amounts are a multiple of, where not 1: https://docs.stripe.com/currencies#three-decimal."""
PERIODS_A_YEAR = {
    "year": Fraction(1),
    "month": Fraction(12),
    "week": Fraction(365, 7),
    "day": Fraction(365),
}


@dataclass(frozen=True)
class Tier:
    """Up to a quantity (None: any) each unit costs `unit`, and the tier itself `flat`."""

    up_to: int | None
    unit: int
    flat: int = 0


@dataclass(frozen=True)
class Charge:
    """A line of an invoice."""

    quantity: int
    unit: Fraction | None
    amount: int
    text: str = ""


@dataclass(frozen=True)
class Terms:
    """How a price charges. Amounts are in the currency's smallest unit."""

    product: str
    currency: str
    unit: Fraction | int | None = None
    interval: str = "month"
    count: int = 1
    tiers: tuple[Tier, ...] = ()
    mode: str | None = None
    """`volume`: the tier of the whole quantity holds; `graduated`: each tier for its own part."""
    package: int | None = None
    """How many units the price is for; a package that was begun counts in full."""
    metered: bool = False

    def charges(self, quantity: int) -> Iterator[Charge]:
        """Yield the lines of a period."""
        if self.mode is None:
            unit = Fraction(self.unit or 0)
            times = -(-quantity // self.package) if self.package else quantity
            yield Charge(quantity, unit, rounded(unit * times, self.currency))
            return
        below = 0
        for number, tier in enumerate(self.tiers, 1):
            top = quantity if tier.up_to is None else min(quantity, tier.up_to)
            part = top - below if self.mode == "graduated" else quantity
            below = top
            if self.mode == "volume" and tier.up_to is not None and quantity > tier.up_to:
                continue
            text = f" (Tier {number})"
            yield Charge(part, Fraction(tier.unit), part * tier.unit, text)
            if tier.flat:
                yield Charge(0, None, tier.flat, f" (Tier {number}, flat fee)")
            if top == quantity:
                return

    def amount(self, quantity: int) -> int:
        """Return what a period costs."""
        return sum(charge.amount for charge in self.charges(quantity))

    @property
    def months(self) -> Fraction:
        """Return the length of a period in months."""
        return Fraction(12 * self.count) / PERIODS_A_YEAR[self.interval]


def rounded(amount: Fraction | int, currency: str) -> int:
    """Return an amount that the currency has, half away from zero."""
    step = STEPS.get(currency, 1)
    whole = int(abs(Fraction(amount)) / step + Fraction(1, 2)) * step
    return whole if amount >= 0 else -whole


def decimal(amount: Fraction | int | None) -> str | None:
    """Return an amount as Stripe writes it, with its decimals."""
    return None if amount is None else f"{float(amount):.12f}".rstrip("0").rstrip(".")


def make_price(
    id_: str, terms: Terms, nickname: str, at: datetime, *, recurring: bool = True
) -> Body:
    """Return a price. Its tiers are shown on request only, so they are in `_tiers`."""
    unit = terms.unit if terms.mode is None else None
    price = make(
        "price",
        id_,
        billing_scheme="tiered" if terms.mode else "per_unit",
        created=epoch(at),
        currency=terms.currency,
        nickname=nickname,
        product=terms.product,
        recurring={
            "interval": terms.interval,
            "interval_count": terms.count,
            "meter": f"mtr_{terms.product}" if terms.metered else None,
            "trial_period_days": None,
            "usage_type": "metered" if terms.metered else "licensed",
        }
        if recurring
        else None,
        tiers_mode=terms.mode,
        transform_quantity={"divide_by": terms.package, "round": "up"} if terms.package else None,
        type="recurring" if recurring else "one_time",
        unit_amount=int(unit) if unit is not None and unit == int(unit) else None,
        unit_amount_decimal=decimal(unit),
    )
    if not terms.mode:
        return price
    return {**price, "_tiers": [_shown(tier) for tier in terms.tiers]}


def _shown(tier: Tier) -> Body:
    flat = tier.flat or None
    return {
        "flat_amount": flat,
        "flat_amount_decimal": decimal(flat),
        "unit_amount": tier.unit,
        "unit_amount_decimal": decimal(tier.unit),
        "up_to": tier.up_to,
    }


def terms_of(price: Body) -> Terms:
    """Return the terms that a stored price was made of."""
    recurring, package = price["recurring"], price["transform_quantity"]
    unit = price["unit_amount_decimal"]
    return Terms(
        product=price["product"],
        currency=price["currency"],
        unit=None if unit is None else Fraction(unit),
        interval=recurring["interval"],
        count=recurring["interval_count"],
        tiers=tuple(
            Tier(tier["up_to"], tier["unit_amount"], tier["flat_amount"] or 0)
            for tier in price.get("_tiers", ())
        ),
        mode=price["tiers_mode"],
        package=package and package["divide_by"],
        metered=recurring["usage_type"] == "metered",
    )


def make_product(
    id_: str, name: str, description: str | None, unit: str | None, at: datetime
) -> Body:
    """Return a product."""
    return make(
        "product",
        id_,
        created=epoch(at),
        description=description,
        name=name,
        unit_label=unit,
        updated=epoch(at),
    )


def make_coupon(id_: str, name: str, duration: str, at: datetime, **own: Any) -> Body:
    """Return a coupon: `percent_off`, or `amount_off` and `currency`; `duration_in_months`."""
    return make("coupon", id_, created=epoch(at), duration=duration, name=name, **own)


def make_tax_rate(id_: str, name: str, percentage: int, at: datetime, *, inclusive: bool) -> Body:
    """Return a tax rate."""
    return make(
        "tax_rate",
        id_,
        country="US" if name == "Sales tax" else "DE",
        created=epoch(at),
        display_name=name,
        effective_percentage=percentage,
        inclusive=inclusive,
        percentage=percentage,
        tax_type="sales_tax" if name == "Sales tax" else "vat",
    )


# --- The sample company

PRODUCTS = {
    "team": ("Team", "Incident response for one team", "seat"),
    "business": ("Business", "Incident response for all of engineering", "seat"),
    "enterprise": ("Enterprise", "Unlimited seats, single sign-on and an audit log", None),
    "status-pages": ("Status pages", "Tell customers what is going on", "seat"),
}
FEE = "fee"
"""The price of what isn't recurring."""
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


def prices(at: datetime) -> list[Body]:
    """Return all prices of the first day."""
    once = Terms(product_id("enterprise"), "usd", 50_000)
    return [make_price(FEE, once, "Onboarding workshop", at, recurring=False)] + [
        make_price(
            price_key(product, interval, currency),
            Terms(
                product_id(product),
                currency,
                amount * (1 if interval == "month" else MONTHS_A_YEAR_COSTS),
                interval,
            ),
            f"{PRODUCTS[product][0]}, {interval}ly",
            at,
        )
        for product, amounts in MONTHLY.items()
        for currency, amount in amounts.items()
        for interval in MONTHS
    ]


def coupons(at: datetime) -> list[Body]:
    """Return all coupons."""
    quarter = {"duration_in_months": 3, "percent_off": 25}
    return [
        make_coupon("open-source", "For open source", "forever", at, percent_off=20),
        make_coupon("first-quarter", "The first quarter", "repeating", at, **quarter),
    ]


def price_key(product: str, interval: str, currency: str) -> str:
    """Return a price's key, which is its ID until a higher price replaces it."""
    return f"{product}-{interval}ly-{currency}"


def key_of(price: Body) -> str:
    """Return the key of a price or of its successor."""
    return str(price["id"]).split(".")[0]


def product_of(price: Body) -> str:
    """Return the product of a price."""
    return next(product for product in PRODUCTS if product_id(product) == price["product"])


def successor(price: Body, number: int, at: datetime) -> Body:
    """Return the price for new subscriptions after the rise."""
    raised = replace(terms_of(price), unit=round(price["unit_amount"] * Fraction(105, 100)))
    return make_price(f"{key_of(price)}.{number}", raised, price["nickname"], at)
