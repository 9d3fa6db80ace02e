"""What BON's mails say, in Hebrew and from right to left; the words themselves are in `templates/`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from cath_dagster.core.ports.letters import write
from cath_dagster.core.ports.mail import Content

LOCALE = "he_IL"
NO_NUMBER = "טיוטה"
NO_CUSTOMER = "—"
PREVIEW_ROWS = 10
PREVIEW_AMOUNT = 123_450
"""Minor units. What a customer owes is nobody's business in the UI."""
_HEBREW_MINUS = "\u200e-"


@dataclass(frozen=True)
class OverdueInvoice:
    """One line of a digest."""

    number: str | None = field(repr=False)
    customer: str | None = field(repr=False)
    minor_units: int
    currency: str
    due_date: date
    days: int
    """Whole days by the calendar in Israel since it was due."""

    @property
    def amount(self) -> str:
        return amount(self.minor_units, self.currency)


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What one owner of one business hears on one day. `invoices` may be only the first of `count`."""

    business: str = field(repr=False)
    owner: str = field(repr=False)
    invoices: Sequence[OverdueInvoice]
    count: int
    totals: Mapping[str, int]
    """Minor units of all of them by currency."""

    @property
    def title(self) -> str:
        return "חשבונית אחת באיחור" if self.count == 1 else f"{self.count} חשבוניות באיחור"

    @property
    def total(self) -> str:
        return " + ".join(amount(minor_units, currency) for currency, minor_units in sorted(self.totals.items()))

    @property
    def more(self) -> int:
        """How many are not listed."""
        return self.count - len(self.invoices)


def amount(minor_units: int, currency: str) -> str:
    """Return an amount as the service prints it: Node's he-IL currency format."""
    from babel.numbers import format_currency, get_currency_precision

    value = Decimal(minor_units).scaleb(-get_currency_precision(currency))
    text = format_currency(abs(value), currency, locale=LOCALE)
    if value >= 0:
        return text
    # The sign stands before the digits, behind the mark that the pattern begins with.
    mark = len(text) - len(text.lstrip("\u200f"))
    return f"{text[:mark]}{_HEBREW_MINUS}{text[mark:]}"


def overdue_digest(digest: Digest) -> Content:
    """Return the mail that lists a business's overdue invoices."""
    values = {"digest": digest, "no_number": NO_NUMBER, "no_customer": NO_CUSTOMER}
    return Content(
        subject=f"{digest.title} — {digest.business}",
        text=_render("overdue_digest.txt", values),
        html=_render("overdue_digest.html", values),
    )


def reauthorisation(business: str, owner: str) -> Content:
    """Return the mail that asks an owner to connect the business with the tax authority again."""
    values = {"business": business, "owner": owner}
    return Content(
        subject=f"נדרש חיבור מחדש לרשות המסים — {business}",
        text=_render("reauthorisation.txt", values),
        html=_render("reauthorisation.html", values),
    )


def masked(digest: Digest) -> Digest:
    """Return a digest to be looked at: days and dates as they are, names, numbers and amounts made up."""
    shown = [
        replace(invoice, number=f"‹{number}›", customer=f"‹לקוח {number}›", minor_units=PREVIEW_AMOUNT, currency="ILS")
        for number, invoice in enumerate(digest.invoices[:PREVIEW_ROWS], start=1)
    ]
    return replace(
        digest, business="‹עסק›", owner="‹בעלים›", invoices=shown, totals={"ILS": PREVIEW_AMOUNT * digest.count}
    )


def _render(name: str, values: Mapping[str, object]) -> str:
    return write("cath_dagster.bon", name, values)
