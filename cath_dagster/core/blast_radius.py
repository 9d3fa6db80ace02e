"""Learn how much of a table a purge would take, and refuse what looks like a mistake."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

import sqlalchemy as sa

from cath_dagster.core.purge import heap_size, rebind

MAX_SHARE = 0.5
MIN_ROWS = 10_000
"""Below so many rows, a purge that takes most of a table is a small service's ordinary night."""
EXACT_BLOCKS = 4_096
"""Heaps up to 32 MB are counted; larger ones are sampled, since counting would cost what the walk saves."""
SAMPLED_BLOCKS = 1_000
STANDARD_ERRORS = 2.0
"""Half the width of the stated interval: 95 %."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How many rows of a table match. `margin` is the half width of the 95 % interval of `matched`, 0 if counted."""

    table: str
    matched: int
    rows: int
    margin: int = 0

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
    def is_near_the_limit(self) -> bool:
        """Whether the truth may lie on the other side of a limit than the estimate."""
        at_rows = abs(self.matched - MIN_ROWS) <= self.margin
        at_share = abs(self.matched - MAX_SHARE * self.rows) <= self.margin
        return not self.is_exact and (at_rows or at_share)

    def __str__(self) -> str:
        about = "" if self.is_exact else f" (estimated, ± {self.margin:,})"
        return f"{self.matched:,} of {self.rows:,} rows of {self.table}, {self.share:.0%}{about}"


def measure(
    connection: sa.Connection, table: sa.Table, predicate: sa.ColumnElement[bool], *, exact: bool = False
) -> Measure:
    """Return how many rows match: counted on small tables, where `exact`, and near a limit; else sampled."""
    blocks, _ = heap_size(connection, table)
    if not exact and blocks > EXACT_BLOCKS:
        estimate = _sample(connection, table, predicate, blocks)
        if not estimate.is_near_the_limit:
            return estimate
    count = sa.func.count()
    matched, rows = connection.execute(sa.select(count.filter(predicate), count).select_from(table)).one()
    return Measure(table=table.name, matched=matched, rows=rows)


def refusal(measures: Iterable[Measure]) -> str | None:
    """Return why the run must not go on, None if it may."""
    too_large = [str(measured) for measured in measures if measured.is_too_large]
    if not too_large:
        return None
    return (
        f"the run would delete {'; '.join(too_large)}. More than {MAX_SHARE:.0%} of a table is taken only on request: "
        "check the retention settings and as_of, then allow it for one run with allow_large: true (--allow-large)"
    )


def _sample(connection: sa.Connection, table: sa.Table, predicate: sa.ColumnElement[bool], blocks: int) -> Measure:
    percent = min(100.0, 100.0 * SAMPLED_BLOCKS / blocks)
    # Whole blocks are drawn, and rows of one block are alike: the error comes from the spread between blocks.
    source = table.tablesample(sa.func.system(percent), name="sampled")
    block: sa.ColumnElement[int] = sa.literal_column("(sampled.ctid::text::point)[0]")
    count = sa.func.count()
    per_block = (
        sa.select(count.label("n"), count.filter(rebind(predicate, table, source)).label("m"))
        .select_from(source)
        .group_by(block)
        .subquery()
    )
    n, m = sa.cast(per_block.c.n, sa.Double), sa.cast(per_block.c.m, sa.Double)
    total = sa.func.sum
    drawn, rows, matched, nn, mm, nm = connection.execute(
        sa.select(sa.func.count(), total(n), total(m), total(n * n), total(m * m), total(n * m))
    ).one()
    if drawn < 2:  # noqa: PLR2004 - a spread needs two
        return Measure(table=table.name, matched=0, rows=0)
    share = matched / rows
    spread = max(0.0, mm - 2 * share * nm + share * share * nn)
    standard_error = sqrt(drawn / (drawn - 1) * spread) / rows
    all_rows = rows * 100.0 / percent
    margin = max(1, round(STANDARD_ERRORS * standard_error * all_rows))
    return Measure(table=table.name, matched=round(share * all_rows), rows=round(all_rows), margin=margin)
