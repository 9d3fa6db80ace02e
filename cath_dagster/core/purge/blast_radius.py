"""Learn how much of a table a purge would take, and refuse what looks like a mistake."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt

import sqlalchemy as sa

from cath_dagster.core.postgres.expressions import rebind
from cath_dagster.core.postgres.heap import Heap, read_heaps_of

MAX_SHARE = 0.5
MIN_ROWS = 10_000
"""Below so many rows, a purge that takes most of a table is a small service's ordinary night."""
EXACT_BLOCKS = 4_096
"""Heaps up to 32 MB are counted; larger ones are sampled, since counting would cost what the walk saves."""
SAMPLED_BLOCKS = 500
MIN_DRAWN = 30
"""Fewer blocks say too little about how much blocks differ."""
STANDARD_ERRORS = 2.0
"""Half the width of the stated interval: 95 %."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How many rows of a table match. The margins are half the widths of 95 % intervals, 0 where it was counted."""

    table: str
    matched: int
    rows: int
    heap_bytes: int = 0
    margin: int = 0
    share_margin: float = 0.0

    @property
    def share(self) -> float:
        return self.matched / self.rows if self.rows else 0.0

    @property
    def is_exact(self) -> bool:
        return self.margin == 0

    @property
    def is_too_large(self) -> bool:
        return self.matched > MIN_ROWS and self.share > MAX_SHARE

    @property
    def is_near_a_limit(self) -> bool:
        """Whether the truth may lie on the other side of a limit than the estimate."""
        at_rows = abs(self.matched - MIN_ROWS) <= self.margin
        at_share = abs(self.share - MAX_SHARE) <= self.share_margin
        return at_rows or at_share

    def __str__(self) -> str:
        about = "" if self.is_exact else f" (estimated, ± {self.margin:,})"
        return f"{self.matched:,} of {self.rows:,} rows of {self.table}, {self.share:.0%}{about}"


def measure(
    connection: sa.Connection, table: sa.Table, predicate: sa.ColumnElement[bool], *, exact: bool = False
) -> Measure:
    """Return how many rows match: counted on small tables, where `exact`, and near a limit; else sampled."""
    (measured,) = measure_each(connection, [(table, predicate)], exact=exact)
    return measured


def measure_each(
    connection: sa.Connection, tables: Sequence[tuple[sa.Table, sa.ColumnElement[bool]]], *, exact: bool = False
) -> list[Measure]:
    """Return for each of the tables how many rows match its predicate; see `measure`."""
    heaps = read_heaps_of(connection, [table for table, _ in tables])
    return [
        _measure(connection, table, predicate, its_heaps, exact=exact)
        for (table, predicate), its_heaps in zip(tables, heaps, strict=True)
    ]


def _measure(
    connection: sa.Connection,
    table: sa.Table,
    predicate: sa.ColumnElement[bool],
    heaps: Sequence[Heap],
    *,
    exact: bool,
) -> Measure:
    blocks, heap_bytes = sum(heap.blocks for heap in heaps), sum(heap.bytes for heap in heaps)
    if not exact and blocks > EXACT_BLOCKS:
        estimate = _sample(connection, table, predicate, blocks)
        if estimate is not None and not estimate.is_near_a_limit:
            return replace(estimate, heap_bytes=heap_bytes)
    count = sa.func.count()
    matched, rows = connection.execute(sa.select(count.filter(predicate), count).select_from(table)).one()
    return Measure(table=table.name, matched=matched, rows=rows, heap_bytes=heap_bytes)


def refusal(measures: Iterable[Measure]) -> str | None:
    """Return why the run must not go on, None if it may."""
    too_large = [str(measured) for measured in measures if measured.is_too_large]
    if not too_large:
        return None
    return (
        f"the run would delete {'; '.join(too_large)}. More than {MAX_SHARE:.0%} of a table is taken only on request: "
        "check the retention settings and as_of, then allow it for one run with allow_large: true (--allow-large)"
    )


def _sample(
    connection: sa.Connection, table: sa.Table, predicate: sa.ColumnElement[bool], blocks: int
) -> Measure | None:
    """Return an estimate from whole blocks drawn at random, None where too few were drawn to tell its error."""
    fraction = min(1.0, SAMPLED_BLOCKS / blocks)
    source = table.tablesample(sa.func.system(100 * fraction), name="sampled")
    # What a TID is sent as begins with its block's number.
    block: sa.ColumnElement[bytes] = sa.literal_column("substr(tidsend(sampled.ctid), 1, 4)")
    count = sa.func.count()
    per_block = (
        sa.select(count.label("n"), count.filter(rebind(predicate, table, source)).label("m"))
        .select_from(source)
        # Of a partitioned table every partition has its own blocks.
        .group_by(sa.literal_column("sampled.tableoid"), block)
        .subquery()
    )
    n, m = sa.cast(per_block.c.n, sa.Double), sa.cast(per_block.c.m, sa.Double)
    total = sa.func.sum
    drawn, rows, matched, nn, mm, nm = connection.execute(
        sa.select(sa.func.count(), total(n), total(m), total(n * n), total(m * m), total(n * m))
    ).one()
    if drawn < MIN_DRAWN:
        return None
    share = matched / rows
    # Rows of one block are alike, so the errors come from the blocks: how they differ in the share that matches,
    # and, for the number of rows, that chance decides also how many of them are drawn.
    spread = max(0.0, mm - 2 * share * nm + share * share * nn)
    share_error = sqrt((1 - fraction) * drawn / (drawn - 1) * spread) / rows
    rows_error = sqrt((1 - fraction) * mm) / fraction
    return Measure(
        table=table.name,
        matched=round(matched / fraction),
        rows=round(rows / fraction),
        margin=max(1, ceil(STANDARD_ERRORS * rows_error)),
        share_margin=STANDARD_ERRORS * share_error,
    )
