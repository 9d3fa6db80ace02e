"""What every watch is given, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from cath_dagster.operations.alerts import Alert, AlertSettings, Kind
from cath_dagster.operations.store import AlertStore

FIRST_LOOK = timedelta(hours=1)
"""How far back a watch looks that never looked before."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look of a watch. `cursor` is what its last look returned."""

    instance: dg.DagsterInstance
    settings: AlertSettings
    store: AlertStore
    now: datetime
    cursor: str | None = None

    @property
    def since(self) -> datetime:
        """The instant of the last look, for a watch whose cursor is one."""
        return datetime.fromisoformat(self.cursor) if self.cursor else self.now - FIRST_LOOK

    def open_problems(self, kind: Kind) -> dict[str, datetime]:
        return self.store.open_problems(kind)


@dataclass(frozen=True)
class Seen:
    """What a look has found; a kill before it is remembered makes the next look find it again."""

    alerts: tuple[Alert, ...]
    cursor: str


Watch = Callable[[Look], Seen]
