"""What BON's mails say, and how amounts are written."""

from datetime import date

import pytest

from cath_dagster.bon.messages import Digest, OverdueInvoice, amount, masked, overdue_digest, reauthorisation

RLM, LRM, NBSP = "\u200f", "\u200e", "\u00a0"


def digest(*invoices: OverdueInvoice, business: str = "סטודיו", owner: str = "דנה", more: int = 0) -> Digest:
    totals: dict[str, int] = {}
    for invoice in invoices:
        totals[invoice.currency] = totals.get(invoice.currency, 0) + invoice.minor_units
    return Digest(business=business, owner=owner, invoices=invoices, count=len(invoices) + more, totals=totals)


def invoice(
    number: str | None = "INV-1", customer: str | None = "Acme", minor_units: int = 123_450, currency: str = "ILS"
) -> OverdueInvoice:
    return OverdueInvoice(number, customer, minor_units, currency, date(2026, 11, 15), 3)


@pytest.mark.parametrize(
    ("minor_units", "printed"),
    [
        (123_450, f"{RLM}1,234.50{NBSP}{RLM}₪"),
        (0, f"{RLM}0.00{NBSP}{RLM}₪"),
        (5, f"{RLM}0.05{NBSP}{RLM}₪"),
        (100_000_000_00, f"{RLM}100,000,000.00{NBSP}{RLM}₪"),
        # As Node prints it: with a left-to-right mark before the minus.
        (-123_450, f"{RLM}{LRM}-1,234.50{NBSP}{RLM}₪"),
    ],
)
def test_writes_an_amount_as_the_service_does(minor_units: int, printed: str) -> None:
    assert amount(minor_units, "ILS") == printed


def test_writes_an_amount_of_another_currency_with_its_own_minor_units() -> None:
    assert amount(123_450, "USD") == f"{RLM}1,234.50{NBSP}{RLM}$"
    assert "123,450" in amount(123_450, "JPY")


@pytest.mark.parametrize(("count", "subject"), [(1, "חשבונית אחת באיחור — סטודיו"), (2, "2 חשבוניות באיחור — סטודיו")])
def test_the_subject_says_how_many_and_of_which_business(count: int, subject: str) -> None:
    assert overdue_digest(digest(*[invoice()] * count)).subject == subject


def test_lists_every_invoice_in_both_forms() -> None:
    content = overdue_digest(digest(invoice("INV-7", "Acme"), invoice("INV-8", "בע״מ")))

    for form in (content.text, content.html):
        for part in ("INV-7", "Acme", "INV-8", "בע״מ", amount(123_450, "ILS"), "2026-11-15", amount(246_900, "ILS")):
            assert part in form


def test_is_written_from_right_to_left() -> None:
    assert '<html lang="he" dir="rtl">' in overdue_digest(digest(invoice())).html


def test_stands_in_for_what_is_missing() -> None:
    html = overdue_digest(digest(invoice(None, None))).html

    assert "<bdi>טיוטה</bdi>" in html
    assert "<bdi>—</bdi>" in html


def test_escapes_what_people_have_typed() -> None:
    content = overdue_digest(digest(invoice("<1>", '<img src="x">&\'"'), business="<b>", owner="<script>"))

    assert "&lt;img src=&#34;x&#34;&gt;&amp;&#39;&#34;" in content.html
    for planted in ("<script>", "<b>", "<img", "<1>"):
        assert planted not in content.html
        assert planted in content.text


def test_says_how_many_are_not_listed() -> None:
    content = overdue_digest(digest(invoice(), more=41))

    assert "42 חשבוניות באיחור" in content.subject
    assert "ועוד 41 חשבוניות" in content.text
    assert "ועוד 41 חשבוניות" in content.html


def test_adds_up_by_currency() -> None:
    content = overdue_digest(digest(invoice(), invoice(currency="USD")))

    assert f"{amount(123_450, 'ILS')} + {amount(123_450, 'USD')}" in content.html


def test_what_is_looked_at_has_neither_names_nor_numbers_nor_amounts() -> None:
    planted = digest(*[invoice("PLANTED-1", "Planted Customer", 98_765)] * 12, business="Planted", owner="Planted")

    content = overdue_digest(masked(planted))

    assert "lanted" not in content.html + content.text + content.subject
    assert "PLANTED" not in content.html
    assert "987.65" not in content.html
    assert "12 חשבוניות" in content.subject
    assert "2026-11-15" in content.html


def test_asks_an_owner_to_authorise_again() -> None:
    content = reauthorisation("סטודיו <b>", "דנה")

    assert "סטודיו <b>" in content.subject
    assert "סטודיו &lt;b&gt;" in content.html
    assert "דנה" in content.text
