"""Write the ledger: what every run did to every table, kept when the run is long gone.

The ledger is a log of events (a table's work started, a batch committed, it finished); the view
`maintenance.purge_ledger` shows them as one row per run and table. A batch's event commits with the batch, so
that a run which is killed has said exactly what it did.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.maintenance.tables import ledger_event
from cath_dagster.core.model.outcome import COUNTS, Outcome
from cath_dagster.core.postgres.database import Database

_INSERT = sa.insert(ledger_event)
IDS = frozenset({"sample_ids", "rejected_ids", "given_up_ids", "failed_ids"})
"""Details that name rows, of people at times: the run's own page has them, which goes after a while; the ledger stays."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """By which rule a table's rows are to be taken, and how many match."""

    table: str
    rule: str
    cutoff: datetime | None
    matched: int


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The ledger of one run, or of one `step` of it. With `is_kept` false nothing is recorded: a dry run on a replica
    cannot write.
    """

    database: Database
    run_id: str
    location: str
    job: str
    dry_run: bool
    as_of: datetime
    is_kept: bool = True
    step: str = ""

    def start(self, *tables: str) -> None:
        """Record that a run that reports on these tables has begun, in a transaction of its own."""
        events = [self._event("started", table) for table in tables]
        self._insert(events)

    def plan(self, *plans: Plan) -> None:
        """Record what the run is about to take, in a transaction of its own."""
        events = [
            self._event("started", plan.table) | {"rule": plan.rule, "cutoff": plan.cutoff, "matched": plan.matched}
            for plan in plans
        ]
        self._insert(events)

    def record_batch(
        self,
        connection: sa.Connection,
        counts: Mapping[str, Mapping[str, int]],
        *,
        rule: str | None = None,
        cutoff: datetime | None = None,
        keys_kept: frozenset[str] = frozenset(),
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Record per table what one batch changed, and by which rule; commits with the caller's transaction.

        `keys_kept` names the tables whose deleted keys the batch wrote down. `details` may say how far the work has
        come with it, for `left_off`.
        """
        # Most counts are nothing for most batches, and a polite batch lasts a millisecond: what is nothing is left out.
        told = [name for name in COUNTS if any(done.get(name) for done in counts.values())]
        events = [
            self._event("batch", table)
            | {"rule": rule, "cutoff": cutoff, "keys_kept": table in keys_kept, "details": details}
            | {name: done.get(name, 0) for name in told}
            for table, done in counts.items()
            if any(done.values())
        ]
        if events:
            connection.execute(_INSERT, events)

    def recorded(self) -> dict[str, dict[str, int]]:
        """Return per table what the batches of this step did, those included whose commit went unanswered."""
        query = (
            sa.select(ledger_event.c.table_name, *(sa.func.sum(ledger_event.c[name]).label(name) for name in COUNTS))
            .where(ledger_event.c.run_id == self.run_id, ledger_event.c.kind == "batch")
            .where(ledger_event.c.step == self.step)
            .group_by(ledger_event.c.table_name)
        )
        rows = self.database.transaction(lambda connection: connection.execute(query).all())
        return {row.table_name: {name: int(getattr(row, name)) for name in COUNTS} for row in rows}

    def changed_by_other_steps(self, table: str) -> int:
        """Return how many rows of a table the other steps of this run have deleted or changed."""
        event = ledger_event.c
        query = sa.select(sa.func.coalesce(sa.func.sum(event.deleted + event.updated), 0)).where(
            event.run_id == self.run_id, event.kind == "batch", event.table_name == table, event.step != self.step
        )
        return int(self.database.transaction(lambda connection: connection.scalar(query)) or 0)

    def deleted_today(self) -> dict[str, int]:
        """Return how many rows each rule of the job has deleted on the present day, in UTC, by whatever run."""
        event = ledger_event.c
        midnight = sa.func.date_trunc("day", sa.func.now(), "UTC")
        query = (
            sa.select(event.rule, sa.cast(sa.func.sum(event.deleted), sa.BigInteger))
            .where(event.job == self.job, event.at >= midnight, event.rule.is_not(None), sa.not_(event.dry_run))
            .where(event.kind.in_(["started", "batch"]))
            .group_by(event.rule)
            # Rules that change rows delete none, and are no rules of a purge.
            .having(sa.func.sum(event.updated) == 0)
            .order_by(event.rule)
        )
        rows = self.database.transaction(lambda connection: connection.execute(query).all())
        return {row[0]: row[1] for row in rows}

    def left_off(self, table: str, *, rule: str, cutoff: datetime | None) -> dict[int, int]:
        """Return how far earlier runs of the job have walked with this very rule and cutoff: a block per filenode."""
        event = ledger_event.c
        if cutoff is None:
            return {}
        filenode = event.details["filenode"].as_integer()
        block = sa.func.max(event.details["until_block"].as_integer())
        query = (
            sa.select(filenode, block)
            .where(event.job == self.job, event.table_name == table, event.kind == "batch")
            # A rule and a cutoff belong to one reference time, so that nothing older can have them.
            .where(event.at >= self.as_of, event.rule == rule, event.cutoff == cutoff)
            .where(event.details.has_key("until_block"))
            .group_by(filenode)
        )
        rows = self.database.transaction(lambda connection: connection.execute(query).all())
        return {row[0]: row[1] for row in rows}

    def finish(self, outcomes: Iterable[Outcome], *, status: str, error: str | None) -> None:
        """Record the end of the work on every table, in one transaction."""
        events = [
            self._event("finished", outcome.target)
            | outcome.counts()
            | {
                "batches": outcome.batches,
                "longest_transaction_seconds": outcome.longest_transaction_seconds,
                "seconds": outcome.seconds,
                "outcome": status,
                "error": error,
                "details": {name: value for name, value in outcome.details.items() if name not in IDS} or None,
            }
            for outcome in outcomes
        ]
        self._insert(events)

    def _insert(self, events: Sequence[dict[str, object]]) -> None:
        if events and self.is_kept:
            self.database.transaction(lambda connection: connection.execute(_INSERT, list(events)))

    def _event(self, kind: str, table: str) -> dict[str, object]:
        return {
            "kind": kind,
            "run_id": self.run_id,
            "location": self.location,
            "job": self.job,
            "step": self.step,
            "table_name": table,
            "dry_run": self.dry_run,
            "as_of": self.as_of,
        }
