"""Which invoices are overdue on a day, and who is told."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.bon.messages import Digest, OverdueInvoice
from cath_dagster.bon.owners import Owner, owners_of
from cath_dagster.bon.tables import CLOSED, OPEN, businesses, invoices
from cath_dagster.core.extremes import on_calendar
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.expressions import is_any

BUSINESSES_AT_ONCE = 50
"""Businesses whose invoices are in memory together."""


@dataclass(frozen=True, kw_only=True)
class BusinessDigest:
    """A business with something overdue: who is told, and what."""

    business_id: UUID
    business: str = field(repr=False)
    owners: Sequence[Owner]
    invoices: Sequence[OverdueInvoice]
    count: int
    totals: Mapping[str, int]

    def addressed_to(self, owner: Owner) -> Digest:
        """Return what one of the owners is told."""
        return Digest(
            business=self.business, owner=owner.name, invoices=self.invoices, count=self.count, totals=self.totals
        )


def is_overdue_on(day: date) -> sa.ColumnElement[bool]:
    """Return whether an invoice was due before a day and is owed still; one due that day is not overdue."""
    return sa.and_(invoices.c.status.in_(OPEN), invoices.c.due_date < day)


def to_be_marked(day: date) -> sa.ColumnElement[bool]:
    return sa.and_(is_overdue_on(day), sa.not_(invoices.c.is_overdue))


def to_be_reset() -> sa.ColumnElement[bool]:
    return sa.and_(invoices.c.status.in_(CLOSED), invoices.c.is_overdue)


def read_digests(database: Database, day: date, *, rows: int) -> Iterator[BusinessDigest]:
    """Yield every active business with overdue invoices, `rows` of them listed at most, the most overdue first.

    A few businesses are read at a time, in one snapshot.
    """
    after: UUID | None = None
    while True:
        found = database.transaction(partial(_read_some, day=day, rows=rows, after=after))
        yield from found
        if len(found) < BUSINESSES_AT_ONCE:
            return
        after = found[-1].business_id


def _read_some(connection: sa.Connection, *, day: date, rows: int, after: UUID | None) -> list[BusinessDigest]:
    connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    overdue = sa.exists().where(invoices.c.business_id == businesses.c.id, is_overdue_on(day))
    query = sa.select(businesses.c.id, businesses.c.name).where(businesses.c.is_active, overdue)
    if after is not None:
        query = query.where(businesses.c.id > after)
    names = dict(connection.execute(query.order_by(businesses.c.id).limit(BUSINESSES_AT_ONCE)).tuples().all())
    lines = _read_lines(connection, list(names), day, rows)
    totals = _read_totals(connection, list(names), day)
    owners = _read_owners(connection, list(names))
    return [
        BusinessDigest(
            business_id=business_id,
            business=name,
            owners=owners.get(business_id, []),
            invoices=lines[business_id],
            count=sum(count for count, _ in totals[business_id].values()),
            totals={currency: minor_units for currency, (_, minor_units) in totals[business_id].items()},
        )
        for business_id, name in names.items()
    ]


def _read_lines(
    connection: sa.Connection, business_ids: Sequence[UUID], day: date, rows: int
) -> dict[UUID, list[OverdueInvoice]]:
    order = (invoices.c.due_date, invoices.c.document_number, invoices.c.id)
    position = sa.func.row_number().over(partition_by=invoices.c.business_id, order_by=order)
    ranked = (
        sa.select(
            invoices.c.business_id,
            invoices.c.document_number,
            invoices.c.customer_name,
            invoices.c.total_incl_vat_minor_units,
            invoices.c.currency,
            on_calendar(invoices.c.due_date).label("due_date"),
            position.label("position"),
        )
        .where(is_any(invoices.c.business_id, business_ids), is_overdue_on(day))
        .subquery("ranked")
    )
    query = (
        sa.select(*list(ranked.c)[:-1])
        .where(ranked.c.position <= rows)
        .order_by(ranked.c.business_id, ranked.c.position)
    )
    found: dict[UUID, list[OverdueInvoice]] = {}
    for business_id, number, customer, minor_units, currency, due_date in connection.execute(query):
        invoice = OverdueInvoice(number, customer, minor_units, currency, due_date, days=(day - due_date).days)
        found.setdefault(business_id, []).append(invoice)
    return found


def _read_totals(
    connection: sa.Connection, business_ids: Sequence[UUID], day: date
) -> dict[UUID, dict[str, tuple[int, int]]]:
    """Return by business and currency how many invoices are overdue, and their minor units."""
    query = (
        sa.select(
            invoices.c.business_id,
            invoices.c.currency,
            sa.func.count(),
            sa.func.sum(invoices.c.total_incl_vat_minor_units),
        )
        .where(is_any(invoices.c.business_id, business_ids), is_overdue_on(day))
        .group_by(invoices.c.business_id, invoices.c.currency)
    )
    found: dict[UUID, dict[str, tuple[int, int]]] = {}
    for business_id, currency, count, minor_units in connection.execute(query):
        found.setdefault(business_id, {})[currency] = (count, int(minor_units))
    return found


def _read_owners(connection: sa.Connection, business_ids: Sequence[UUID]) -> dict[UUID, list[Owner]]:
    found: dict[UUID, list[Owner]] = {}
    for business_id, *owner in connection.execute(owners_of(business_ids)):
        found.setdefault(business_id, []).append(Owner(*owner))
    return found
