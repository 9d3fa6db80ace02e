"""Soft-delete surveys: marked as deleted, with the date on which they go for good."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from cath_dagster.checktick.retention import (
    is_past_soft_deletion,
    is_soft_deletable,
    lock_for_decision,
    soft_deleted_at,
    soft_deletion_values,
)
from cath_dagster.checktick.tables import survey
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.purge.batch import BatchCounts


@dataclass(frozen=True, kw_only=True)
class Marker:
    """Marks surveys for one run."""

    ledger: Ledger
    as_of: datetime
    now: datetime
    grace: timedelta
    rule: str

    def mark(self, survey_ids: Sequence[int], connection: sa.Connection) -> BatchCounts:
        """Soft-delete those of the surveys that may be, in the caller's transaction.

        Nothing but the two dates is written: whatever else of a survey is being changed stays as it is.
        """
        locked = lock_for_decision(connection, survey_ids, is_past_soft_deletion(self.as_of))
        deleted_at = soft_deleted_at(self.as_of, self.now)
        # Decided in a statement after the locks, which has a snapshot of its own.
        statement = (
            sa.update(survey)
            .where(is_any(survey.c.id, locked), is_soft_deletable(self.as_of))
            .values(**soft_deletion_values(deleted_at, self.grace))
        )
        marked = connection.execute(statement).rowcount
        self.ledger.record_batch(connection, {survey.name: {"updated": marked}}, rule=self.rule, cutoff=self.as_of)
        return BatchCounts(len(survey_ids), marked)
