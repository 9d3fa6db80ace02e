"""Anonymise conversations: emptied, with their messages, what was said of those, and what was made of them, in one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.core.archive.protected_rows import spare, tables_left_alone
from cath_dagster.core.model.purge import Keys, Purge
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.purge.batch import BatchCounts, BatchDeleter
from cath_dagster.core.purge.batch_runner import BatchRunner, Progress
from cath_dagster.core.purge.pace import PACE_LIMITS, Pacer
from cath_dagster.core.purge.refusal import read_guards
from cath_dagster.core.purge.weighted_batches import WeightedBatches
from cath_dagster.core.references.holds import with_holds
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.hay.retention import (
    RULE,
    ConversationRetentionSettings,
    anonymised,
    is_due,
    is_of_a_conversation,
    made_of,
)
from cath_dagster.hay.tables import conversations, embeddings, message_feedback, messages

MOST_MESSAGES = 20_000
"""Of all conversations of a batch, unless it is one alone: about a second, with an index on their conversation."""
AT_ONCE = 50_000
"""Conversations whose keys are read together."""


@dataclass(frozen=True, kw_only=True)
class Anonymiser:
    """Anonymises conversations for one run."""

    run: JobRun
    settings: ConversationRetentionSettings
    deleter: BatchDeleter
    message_purge: Purge
    embedding_purge: Purge | None
    """None where nothing was made of any conversation, so that no batch need look."""
    left_alone: frozenset[str] = frozenset()
    """Tables of which rows that were restored are left alone for a while."""

    def anonymise(self, ids: Keys, connection: sa.Connection) -> BatchCounts:
        """Anonymise those of the conversations that are due still, in the caller's transaction.

        A hold that is being placed, or a policy that is being changed, has come before the decision or comes after it:
        the rows are locked first, and decided on by a statement of its own.
        """
        connection.execute(
            sa.select(conversations.c.id)
            .where(is_any(conversations.c.id, ids))
            .order_by(conversations.c.id)
            .with_for_update(key_share=True)
        )
        statement = (
            sa.update(conversations)
            .where(is_any(conversations.c.id, ids), is_due(self.run.as_of, self.settings))
            .values(anonymised(sa.func.now()))
            .returning(conversations.c.id)
        )
        done = list(connection.scalars(statement))
        if not done:
            return BatchCounts(len(ids), 0)
        if self.embedding_purge is not None:
            made = sa.and_(is_of_a_conversation(), made_of(is_any(conversations.c.id, done)))
            self._delete(connection, self.embedding_purge, made)
        self._delete(connection, self.message_purge, is_any(messages.c.conversation_id, done))
        counts = {conversations.name: {"updated": len(done)}}
        self.run.ledger.record_batch(connection, counts, rule=RULE, cutoff=self.run.as_of)
        return BatchCounts(len(ids), len(done))

    def _delete(self, connection: sa.Connection, purge: Purge, which: sa.ColumnElement[bool]) -> None:
        """Delete what goes with conversations that are decided on and locked; the rule over all would be worked out anew."""
        count = connection.scalar(sa.select(sa.func.count()).select_from(purge.table).where(which)) or 0
        if count:
            bounded = replace(purge, predicate=which, holds=(), rule_predicate=None)
            bounded = with_holds(spare(bounded, self.left_alone, self.run.as_of), purge.holds)
            self.deleter.delete(bounded, sa.true(), count, connection)


def open_anonymiser(
    run: JobRun, settings: ConversationRetentionSettings, message_purge: Purge, embedding_purge: Purge
) -> tuple[Anonymiser, BatchRunner]:
    """Return what does the work of a run, and what runs its batches."""
    guards = run.database.transaction(
        lambda connection: read_guards(connection, [conversations, messages, message_feedback, embeddings])
    )
    deleter = BatchDeleter(
        ledger=run.ledger,
        job=run.job,
        run_id=run.run_id,
        keeps_keys=settings.ledger_keys,
        may_keep=guards.keeping,
        clock=run.clock,
    )
    has_embeddings = sa.select(sa.exists().where(embedding_purge.is_due))
    is_made = run.database.transaction(lambda connection: bool(connection.scalar(has_embeddings)))
    anonymiser = Anonymiser(
        run=run,
        settings=settings,
        deleter=deleter,
        message_purge=message_purge,
        embedding_purge=embedding_purge if is_made else None,
        left_alone=run.database.transaction(lambda connection: tables_left_alone(connection, run.as_of)),
    )
    pacer = Pacer(PACE_LIMITS[settings.pace or Pace.BULK], clock=run.clock)
    runner = BatchRunner(database=run.database, pacer=pacer, progress=Progress(), guards=guards, clock=run.clock)
    return anonymiser, runner


def take_all(run: JobRun, anonymiser: Anonymiser, runner: BatchRunner, due: int) -> dict[UUID, str]:
    """Anonymise all that is due, as far as there is room, the longest ended first; return by id why one was left undone."""
    failed: dict[UUID, str] = {}
    last: Sequence[UUID] = ()
    while (room := run.account.room()) is None or room > 0:
        most = AT_ONCE if room is None else min(AT_ONCE, room)
        ids = run.database.transaction(partial(_read, anonymiser, list(failed), most))
        # What was taken and is due again is held up by something; the next run looks anew.
        if not ids or set(ids) <= set(last):
            break
        last = ids
        before = _done(run)
        batches = WeightedBatches(
            runner=runner,
            work=anonymiser.anonymise,
            weights=run.database.transaction(partial(_weights, ids)),
            most_rows=anonymiser.settings.conversations_per_transaction,
            most_weight=MOST_MESSAGES,
            report=_reporter(run, before, due),
        )
        batches.take(ids)
        failed |= batches.failed
        run.account.take(_done(run) - before)
    return failed


def _reporter(run: JobRun, before: int, due: int) -> Callable[[int, int], None]:
    return lambda done, _: run.reporter.progress(conversations.name, before + done, max(due, before + done))


def _done(run: JobRun) -> int:
    return run.ledger.recorded().get(conversations.name, {}).get("updated", 0)


def _read(anonymiser: Anonymiser, failed: Keys, most: int, connection: sa.Connection) -> Sequence[UUID]:
    due = is_due(anonymiser.run.as_of, anonymiser.settings)
    query = sa.select(conversations.c.id).where(due, ~is_any(conversations.c.id, failed))
    return connection.scalars(query.order_by(conversations.c.created_at, conversations.c.id).limit(most)).all()


def _weights(ids: Keys, connection: sa.Connection) -> dict[UUID, int]:
    query = sa.select(messages.c.conversation_id, sa.func.count()).where(is_any(messages.c.conversation_id, ids))
    return dict(connection.execute(query.group_by(messages.c.conversation_id)).tuples().all())
