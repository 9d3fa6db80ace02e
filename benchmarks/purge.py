"""Purge an audit table by `clear_audit`, beside one DELETE of the same rows on a fresh copy, at several sizes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.audit_log import AuditLog, PurgeRun, somebody_writing
from benchmarks.measures import BenchmarkError, Ratio, Say, at_least, bounded
from cath_dagster.development.postgres import EmbeddedPostgres

GOAL_DELETING, GOAL_WHOLE, GOAL_LONGEST_MS = 0.95, 0.85, 250
GOAL_GROWTH, GOAL_MEMORY = 11, 1.1


@dataclass(frozen=True)
class SizeResult:
    """Rounds at one size: seconds of one DELETE and our run of each, alone and while somebody else writes."""

    rows: int
    heap: str
    one_delete: tuple[float, ...]
    ours: tuple[PurgeRun, ...]
    accompanied: tuple[PurgeRun, ...]

    @property
    def deleting(self) -> float:
        """Throughput of the deleting phase against one DELETE."""
        return median(beside / run.deleting for beside, run in self._pairs)

    @property
    def whole(self) -> float:
        return median(beside / run.whole for beside, run in self._pairs)

    @property
    def whole_accompanied(self) -> float:
        return median(beside / run.whole for beside, run in zip(self.one_delete, self.accompanied, strict=True))

    @property
    def seconds(self) -> float:
        return median(run.whole for run in self.ours)

    @property
    def peak_mb(self) -> float:
        return median(run.peak_mb for run in self.ours)

    @property
    def _pairs(self) -> list[tuple[float, PurgeRun]]:
        return list(zip(self.one_delete, self.ours, strict=True))


def measure_sizes(cluster: EmbeddedPostgres, sizes: Sequence[int], *, rounds: int, say: Say) -> Iterator[SizeResult]:
    """Yield the rounds of each size."""
    for rows in sizes:
        log = AuditLog.make(cluster, rows)
        say(f"purge: {rows:,} rows of audit_log, {log.size()}, 80 % expired, {rounds} rounds")
        beside, ours, accompanied = [], [], []
        for _ in range(rounds):
            seconds, deleted = log.delete_at_once(log.copy())
            run = log.purge(log.copy())
            if run.deleted != deleted:
                raise BenchmarkError(f"the two did not do the same work: {run.deleted} and {deleted} rows")
            beside.append(seconds)
            ours.append(run)
            url = log.copy()
            with somebody_writing(url):
                accompanied.append(log.purge(url))
        yield SizeResult(rows, log.size(), tuple(beside), tuple(ours), tuple(accompanied))
        log.drop()


def ratios(sizes: Sequence[SizeResult]) -> Iterator[Ratio]:
    """Yield what the purge is held to."""
    for size in sizes:
        rounds = zip(size.one_delete, size.ours, strict=True)
        pairs = [(run.deleting, run.whole, beside) for beside, run in rounds]
        name = f"purge of {size.rows:,} rows"
        deleting = [(ours, beside) for ours, _, beside in pairs]
        whole = [(ours, beside) for _, ours, beside in pairs]
        yield at_least(f"{name}, deleting phase against one DELETE", deleting, goal=GOAL_DELETING)
        yield at_least(f"{name}, whole run against one DELETE", whole, goal=GOAL_WHOLE)
    yield bounded(
        "longest transaction, bulk (one DELETE: the whole time)",
        milliseconds=1_000 * max(run.longest for size in sizes for run in size.ours),
        beside=1_000 * median(sizes[-1].one_delete),
        goal=GOAL_LONGEST_MS,
    )
    yield from _growth(sizes[0], sizes[-1])


def _growth(least: SizeResult, most: SizeResult) -> Iterator[Ratio]:
    if least is most:
        return
    # Ten times the rows; a factor of eleven leaves the first size's fixed costs out of account.
    goal = GOAL_GROWTH * most.rows / least.rows / 10
    growth, memory = most.seconds / least.seconds, most.peak_mb / least.peak_mb
    between = f"from {least.rows:,} to {most.rows:,} rows"
    yield Ratio(
        name=f"growth of the run's time {between}",
        ours=f"{most.seconds:.2f} s",
        beside=f"{least.seconds:.2f} s",
        result=f"{growth:.1f}",
        goal=f"≤ {goal:.1f}",
        is_met=growth <= goal,
    )
    yield Ratio(
        name=f"growth of the client's memory {between}",
        ours=f"{most.peak_mb:.0f} MB",
        beside=f"{least.peak_mb:.0f} MB",
        result=f"{memory:.2f}",
        goal=f"≤ {GOAL_MEMORY:.2f}",
        is_met=memory <= GOAL_MEMORY,
    )
