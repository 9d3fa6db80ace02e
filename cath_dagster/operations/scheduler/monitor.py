"""The sensor that keeps the registry and the history true, whatever was killed meanwhile.

It asks for no run, and may be killed at any instant: whatever it does is found to be done when it is done again.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import dagster as dg

from cath_dagster.core.postgres.database import Database
from cath_dagster.operations.scheduler.closing import close_ended, close_lost
from cath_dagster.operations.scheduler.registration import mirror
from cath_dagster.operations.scheduler.ticking import record_missed, record_skipped
from cath_dagster.orchestration.states import read_states
from cath_dagster.orchestration.stopped import is_scheduling
from cath_dagster.registry import all_specs

MONITOR = "scheduler_monitor"
SECONDS = 15
"""Between two looks, so that a killed run is closed within a minute, and what an operator said is seen soon."""
BETWEEN_TICKS = timedelta(minutes=1)
"""Between two looks at ticks, which nobody waits for."""
FIRST_LOOK = timedelta(days=1)
"""How far back the first look goes."""


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """Up to which change of a run, and which instant of the ticks, everything is looked at."""

    runs: datetime
    ticks: datetime

    @classmethod
    def read(cls, text: str | None, now: datetime) -> "Cursor":
        kept = json.loads(text) if text else {}
        first = (now - FIRST_LOOK).isoformat()
        return cls(**{name: datetime.fromisoformat(kept.get(name, first)) for name in ("runs", "ticks")})

    def write(self) -> str:
        return json.dumps({"runs": self.runs.isoformat(), "ticks": self.ticks.isoformat()})


def look(instance: dg.DagsterInstance, database: Database, cursor: Cursor, now: datetime) -> tuple[str, Cursor]:
    """Bring registry and history up to date; return what was done, and where the next look begins."""
    specs = all_specs()
    states = read_states(instance)
    database.transaction(partial(mirror, specs=specs, states=states, now=now, is_scheduling=is_scheduling()))
    looked = close_ended(instance, database, cursor.runs)
    count = looked.count + close_lost(instance, database, now)
    done = [f"{count} runs written or closed"] if count else []
    ticks = cursor.ticks
    if now - ticks >= BETWEEN_TICKS:
        skipped = record_skipped(instance, database, specs, states, ticks, now)
        pauses = record_missed(database, specs, states, ticks)
        done += [f"{skipped} skipped ticks"] if skipped else []
        done += [f"{pauses} pauses"] if pauses else []
        ticks = now
    return ", ".join(done) or "nothing new", Cursor(runs=looked.until, ticks=ticks)
