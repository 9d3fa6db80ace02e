"""What was measured, as it is kept, shown and judged."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cath_dagster.cloudmake.benchmark.measuring import Measured
from cath_dagster.cloudmake.benchmark.queries import QUERIES
from cath_dagster.core.model.check import Verdict
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.model.scalar import Scalar

OWNER = "owner"
PER_ROW, ONCE = "called_for_each_row", "called_once_instead"
_LINE = "{:<22}{:>12}{:>12}{:>16}{:>16}"


@dataclass(frozen=True, kw_only=True)
class Results:
    """What came of all queries, and on what."""

    measured: tuple[Measured, ...]
    rows: dict[str, int]
    seeded: int
    policies: str
    """What tells this state of the policies from another."""
    remedies: tuple[str, ...]
    """Statements after which policies call their functions once a query."""
    revision: str | None
    """The commit of the service's repository."""

    @property
    def unmeasured(self) -> list[str]:
        return [one.query for one in self.measured if one.administrator is None]

    @property
    def per_row(self) -> list[str]:
        """The filters that call a function for each row, by query and table."""
        return [f"{one.query}: {each.table}: {each.condition}" for one in self.measured for each in one.per_row]

    def as_rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each query and each way it was measured."""
        for one in self.measured:
            for name, times in one.times.items():
                yield {
                    "query": one.query,
                    "measured_as": name,
                    "p50_ms": times.p50_ms,
                    "p95_ms": times.p95_ms,
                    "revision": self.revision,
                    "details": {
                        "rows": self.rows,
                        "seeded": self.seeded,
                        "policies": self.policies,
                        "per_row": [f"{each.table}: {each.condition}" for each in one.per_row],
                    },
                }

    def as_details(self) -> dict[str, Scalar]:
        """Return the numbers, which the UI plots over runs, and what to do about policies."""
        details: dict[str, Scalar] = {}
        for row in self.as_rows():
            label = f"{row['query']}_as_owner" if row["measured_as"] == OWNER else row["query"]
            details |= {f"{label}_p50_ms": row["p50_ms"], f"{label}_p95_ms": row["p95_ms"]}
        details |= {f"{table}_rows": count for table, count in self.rows.items()}
        details |= {"revision": self.revision, "policies": self.policies, "seeded": self.seeded}
        if self.per_row:
            details |= {PER_ROW: self.per_row, ONCE: list(self.remedies)}
        return details

    def judge(self, target_ms: float) -> Verdict:
        """Return whether each query's 95th percentile is within the target; one that was not measured is not."""
        p95 = {one.query: one.administrator.p95_ms for one in self.measured if one.administrator}
        slow = [f"{name} {value:,.1f} ms" for name, value in p95.items() if value > target_ms]
        said = [f"p95 above {target_ms:g} ms: {', '.join(slow)}"] * bool(slow)
        said += [f"not measured: {', '.join(self.unmeasured)}"] * bool(self.unmeasured)
        return Verdict(not said, "; ".join(said), {"slowest_p95_ms": max(p95.values(), default=0.0)})


def as_text(result: RunResult, verbose: bool) -> list[str]:
    """Return a run's numbers as a table, and the statements that help; the filters where all there is to say is asked for."""
    details = next((outcome.details for outcome in result.outcomes), {})
    if result.dry_run or not any(name.endswith("_p95_ms") for name in details):
        return []
    lines = [_LINE.format("milliseconds", "p50", "p95", "p50 as owner", "p95 as owner")]
    for query in QUERIES:
        ways = (f"{query.name}{way}_{rank}_ms" for way in ("", "_as_owner") for rank in ("p50", "p95"))
        lines.append(_LINE.format(query.name, *(f"{details[way]:.1f}" if way in details else "–" for way in ways)))
    for name in (PER_ROW, ONCE) if verbose else (ONCE,):
        shown = details.get(name)
        if isinstance(shown, list) and shown:
            lines += ["", f"{name.replace('_', ' ')}:", *(f"  {line}" for line in shown)]
    return [*lines, ""]
