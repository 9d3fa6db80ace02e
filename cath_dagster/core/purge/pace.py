"""Set the pace of a purge: as fast as one DELETE, or so that the database's users do not notice it.

What users notice is a burst: while a batch is at work they wait for the processor and for its locks. So the polite pace
works in bursts of a millisecond and rests in between, longer as soon as the server shows that others wait.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.database import Limits
from cath_dagster.core.postgres.pressure import look

LARGE_TABLE_BYTES = 256 * 1024**2
"""Heap. One DELETE of most of it takes half a second or more: long enough for users to notice."""

MIN_DUTY = 0.04
"""Under lasting pressure the purge still gets on, ten times slower."""
RECOVERY = 0.03
"""Duty won back by each calm look: from the least to the most in about three seconds."""
LOOK_SECONDS = 0.2
"""Between two looks; one costs about 0.2 ms, for a part of which it keeps others from the lock manager."""
BACK_OFF_SECONDS = 0.1
"""The least rest under pressure: time for those who wait to be served."""
MAX_REST_SECONDS = 5.0
SLOW_SECONDS = 0.02
"""Twenty times what a polite batch takes."""
SLOW = 4
"""A batch is slow that takes so many times what they took of late: a cold disk, a lock, a checkpoint. On a machine that
has no time for anybody all of them take long, and none stands out.
"""
WAL_BURST_BYTES = 512 * 1024**2
"""Half of PostgreSQL's default max_wal_size: so much may be written without a rest."""
WAL_BYTES_PER_SECOND = 64 * 1024**2
"""What the whole server may write for long while a polite purge goes on: half of what a standby receives over 1 Gbit/s."""


@dataclass(frozen=True, kw_only=True)
class PaceLimits:
    """What a pace asks for. `duty` is the most of its time that a purge is at work."""

    pace: Pace
    target_seconds: float
    duty: float
    limits: Limits


PACE_LIMITS = {
    # Long enough for the speed of one DELETE, short enough that nobody waits long for its locks. No batch waits for the
    # disk: at full pace that would take as long as a tenth of the work, and at the polite one it would hold locks longer.
    Pace.BULK: PaceLimits(
        pace=Pace.BULK, target_seconds=0.1, duty=1.0, limits=Limits(lock_seconds=1.0, statement_seconds=30.0)
    ),
    # `make bench` shows what longer bursts and a higher duty do to the users' 99th percentile.
    Pace.POLITE: PaceLimits(
        pace=Pace.POLITE,
        target_seconds=0.0007,
        duty=0.5,
        limits=Limits(lock_seconds=0.1, statement_seconds=5.0),
    ),
}


def choose_pace(asked: Pace | None, *, is_scheduled: bool, heap_bytes: int) -> Pace:
    """Return the pace: as asked; else polite for a scheduled run on a large table, bulk for any other."""
    if asked is not None:
        return asked
    return Pace.POLITE if is_scheduled and heap_bytes >= LARGE_TABLE_BYTES else Pace.BULK


class Pacer:
    """Rests between a purge's batches, and remembers how long and why."""

    def __init__(
        self,
        pace_limits: PaceLimits,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.pace_limits = pace_limits
        self._sleep = sleep
        self._clock = clock
        self._duty = pace_limits.duty
        self._usual_seconds = pace_limits.target_seconds
        self._reasons: tuple[str, ...] = ()
        self._looked_at: float | None = None
        self._wal_position: int | None = None
        self._wal_allowance = float(WAL_BURST_BYTES)
        self._busy_seconds = 0.0
        self._rested_seconds = 0.0
        self._backed_off: Counter[str] = Counter()
        self._unseen: tuple[str, ...] = ()

    @property
    def is_polite(self) -> bool:
        return self.pace_limits.duty < 1

    def look(self, connection: sa.Connection) -> None:
        """See how others fare, now and then; at a batch's end, when those who wait for it can be seen."""
        if not self.is_polite:
            return
        now = self._clock()
        since = LOOK_SECONDS if self._looked_at is None else now - self._looked_at
        if since < LOOK_SECONDS:
            return
        self._looked_at = now
        pressure = look(connection)
        self._unseen = pressure.unseen
        reasons = pressure.reasons
        if self._is_wal_spent(pressure.wal_position, since):
            reasons = (*reasons, "much write-ahead log")
        self._adapt(reasons)

    def rest(self, seconds: float) -> None:
        """Rest after a batch that took so long."""
        self._busy_seconds += seconds
        if not self.is_polite:
            return
        if seconds > max(SLOW_SECONDS, SLOW * self._usual_seconds):
            self._adapt((*self._reasons, "own batch was slow"))
        self._usual_seconds += (seconds - self._usual_seconds) / 8
        rest = seconds * (1 - self._duty) / self._duty
        if self._reasons:
            rest = max(rest, BACK_OFF_SECONDS)
            self._backed_off.update(self._reasons)
            self._reasons = ()
        self._wait(min(rest, MAX_REST_SECONDS))

    def back_off(self, reason: str, seconds: float) -> None:
        """Wait, at any pace, for what stands in the way to pass."""
        self._backed_off[reason] += 1
        if seconds:
            self._wait(seconds)

    def summary(self) -> dict[str, Scalar]:
        """Return what an operator may want to know of the pace: what was asked, and what came of it."""
        total = self._busy_seconds + self._rested_seconds
        told: dict[str, Scalar] = {"pace": self.pace_limits.pace.value}
        if self._rested_seconds:
            told |= {
                "duty": round(self._busy_seconds / total, 3),
                "rested_seconds": round(self._rested_seconds, 3),
            }
        if self._backed_off:
            told["backed_off"] = [f"{reason}: {count}" for reason, count in sorted(self._backed_off.items())]
        if self._unseen:
            told["not_seen"] = f"{' and '.join(self._unseen)}, for want of pg_read_all_stats"
        return told

    def _adapt(self, reasons: tuple[str, ...]) -> None:
        """Step back at once, and come back slowly."""
        self._reasons = reasons
        if reasons:
            self._duty = max(MIN_DUTY, self._duty / 2)
        else:
            self._duty = min(self.pace_limits.duty, self._duty + RECOVERY)

    def _is_wal_spent(self, position: int, seconds: float) -> bool:
        written = 0 if self._wal_position is None else position - self._wal_position
        self._wal_position = position
        earned = self._wal_allowance + WAL_BYTES_PER_SECOND * seconds
        self._wal_allowance = max(min(WAL_BURST_BYTES, earned) - written, -WAL_BURST_BYTES)
        return self._wal_allowance < 0

    def _wait(self, seconds: float) -> None:
        started = self._clock()
        self._sleep(seconds)
        self._rested_seconds += self._clock() - started
