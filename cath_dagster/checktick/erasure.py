"""Delete surveys for good: keys overwritten, every dependent table cleared, a record left, in one transaction."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, array

from cath_dagster.checktick import tables as t
from cath_dagster.checktick.deletion import DEPENDENT, POLICY, Reference, Removal
from cath_dagster.checktick.retention import (
    WARNING,
    deletion_day,
    is_hard_deletable,
    is_open_request,
    is_past_hard_deletion,
    lock_for_decision,
)
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.maintenance.tables import deleted_key, sent_notice
from cath_dagster.core.model.purge import Keys, Purge
from cath_dagster.core.outbox.files import queue
from cath_dagster.core.outbox.notices import SETTLED
from cath_dagster.core.postgres.database import BatchConflictError
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.purge.batch import BatchCounts

ACTION = "survey_hard_deleted"
SCOPE = "data_governance"
KEY_BYTES = 64
"""Nothing of a key is left in its row, however long it was."""
VAULT_PATH = "surveys/%s/kek"
"""Where the service keeps a survey's key in its vault. Nothing here can reach that: the record says what is left."""


@dataclass(frozen=True, kw_only=True)
class SurveyPurge(Purge):
    """The surveys to be deleted for good: what is measured, and told of in advance.

    `Eraser` deletes them, with the rows of every table that goes along by the same statements.
    """

    is_checked_apart: bool = True
    """`find_gaps` holds the policy of every foreign key against the catalogue."""

    @property
    def every_table(self) -> list[sa.Table]:
        """Its own table, and each whose rows go along."""
        return [self.table, *DEPENDENT]

    def every_child(self) -> list[tuple[sa.Table, sa.ColumnElement[bool]]]:
        """Return each table whose rows go along, with the predicate that finds them."""
        removal = Removal(lambda column: column.in_(sa.select(t.survey.c.id).where(self.predicate)))
        return [(table, removal.goes(table)) for table in DEPENDENT]


def select_files(chosen: sa.ColumnElement[bool]) -> sa.Select[tuple[str, str]]:
    """Return keys and paths of the chosen surveys' files, without those that a survey that stays shows as well."""
    removal = Removal(lambda column: column.in_(sa.select(t.survey.c.id).where(chosen)))
    image, other = t.question_image, t.question_image.alias("other")
    goes = sa.select(image.c.id).where(removal.goes(image))
    is_shared = sa.exists().where(other.c.image == image.c.image, other.c.id.not_in(goes))
    images = (
        sa.select(t.question.c.survey_id.label("survey_id"), image.c.image.label("path"))
        .join(t.question, t.question.c.id == image.c.question_id)
        .where(removal.goes(image), ~is_shared)
    )
    verification = t.identity_verification
    paths = array([verification.c.document_path, verification.c.video_recording_path])
    proofs = (
        sa.select(t.recovery_request.c.survey_id, sa.func.unnest(paths))
        .join(t.recovery_request, t.recovery_request.c.id == verification.c.recovery_request_id)
        .where(removal.goes(verification))
    )
    every = sa.union(images, proofs).subquery("every_file")
    return sa.select(sa.cast(every.c.survey_id, sa.Text), every.c.path).where(every.c.path != "")


@dataclass(frozen=True, kw_only=True)
class Eraser:
    """Erases surveys for one run."""

    ledger: Ledger
    job: str
    run_id: str
    as_of: datetime
    now: datetime
    rule: str

    def erase(self, survey_ids: Sequence[int], connection: sa.Connection) -> BatchCounts:
        """Delete those of the surveys that may be deleted, in the caller's transaction."""
        locked = lock_for_decision(connection, survey_ids, is_past_hard_deletion(self.as_of))
        # A statement that waited for a lock decides by its old snapshot of the holds; this one has a new snapshot.
        chosen = connection.scalars(
            sa.select(t.survey.c.id).where(is_any(t.survey.c.id, locked), is_hard_deletable(self.as_of))
        ).all()
        if not chosen:
            return BatchCounts(len(survey_ids), 0)
        _overwrite_keys(connection, chosen)
        files = select_files(is_any(t.survey.c.id, chosen))
        queue(connection, files, job=self.job, run_id=self.run_id, table=t.survey.name, due_at=None)
        self._leave_record(connection, chosen)
        counts = _delete(connection, chosen)
        keys = sa.func.unnest(sa.literal([str(key) for key in chosen], ARRAY(sa.Text)))
        names = ["run_id", "table_name", "key"]
        rows = sa.select(sa.literal(self.run_id), sa.literal(t.survey.name), keys)
        connection.execute(sa.insert(deleted_key).from_select(names, rows))
        self.ledger.record_batch(
            connection, counts, rule=self.rule, cutoff=self.as_of, keys_kept=frozenset({t.survey.name})
        )
        return BatchCounts(len(survey_ids), len(chosen))

    def _leave_record(self, connection: sa.Connection, chosen: Keys) -> None:
        """Write a row for each survey that outlives it, with what a later question may need and no more."""
        record = _records(chosen).subquery("record")
        said = sa.func.jsonb_build_object("run_id", self.run_id, "as_of", self.as_of.isoformat())
        values: dict[str, sa.ColumnElement[Any]] = {
            "scope": sa.literal(SCOPE),
            "action": sa.literal(ACTION),
            "metadata": sa.func.to_jsonb(sa.literal_column("record")).op("||")(said),
            "created_at": sa.literal(self.now),
            "message": sa.func.concat("Survey ", record.c.survey_id, " was deleted for good, its retention being over"),
            "severity": sa.literal("info"),
            "user_agent": sa.literal(""),
            "username_attempted": sa.literal(""),
        }
        connection.execute(
            sa.insert(t.audit_log).from_select(list(values), sa.select(*values.values()).select_from(record))
        )


def _overwrite_keys(connection: sa.Connection, chosen: Keys) -> None:
    """Overwrite what the answers are encrypted with, each with random bytes of its own."""
    names = [column.name for column in t.KEY_COLUMNS]
    noise = (
        sa.func.unnest(
            sa.literal(list(chosen), ARRAY(sa.BigInteger)),
            *(
                sa.literal([secrets.token_bytes(KEY_BYTES) for _ in chosen], ARRAY(sa.LargeBinary))
                for _ in t.KEY_COLUMNS
            ),
        )
        .table_valued("id", *names, name="noise")
        .render_derived()
    )
    values = {column: sa.case((column.is_not(None), noise.c[column.name]), else_=sa.null()) for column in t.KEY_COLUMNS}
    has_key = sa.or_(*(column.is_not(None) for column in t.KEY_COLUMNS))
    connection.execute(sa.update(t.survey).where(t.survey.c.id == noise.c.id, has_key).values(values))


def _delete(connection: sa.Connection, chosen: Keys) -> dict[str, dict[str, int]]:
    """Delete the surveys with all that goes along; return what was done to each table.

    By one statement, whose parts all see the rows as they were before it: in whatever order they are done, each finds
    its own by those that go. The foreign keys are checked at commit.
    """
    removal = Removal(lambda column: is_any(column, chosen))
    parts = [(table.name, "deleted", sa.delete(table).where(removal.goes(table))) for table in (*DEPENDENT, t.survey)]
    changes = [
        (reference.child.name, "updated", _cut_off(removal, reference)) for reference in POLICY if reference.is_kept
    ]
    done = [
        statement.returning(sa.literal(1)).cte(f"part_{number}")
        for number, (_, _, statement) in enumerate((*parts, *changes))
    ]
    rows = connection.execute(
        sa.select(*(sa.select(sa.func.count()).select_from(part).scalar_subquery() for part in done))
    )
    counts: dict[str, dict[str, int]] = {}
    for (table, name, _), number in zip((*parts, *changes), rows.one(), strict=True):
        of_table = counts.setdefault(table, {"deleted": 0, "updated": 0})
        of_table[name] += number
    missing = len(chosen) - counts[t.survey.name]["deleted"]
    if missing:
        raise BatchConflictError(f"{missing} surveys were gone before they could be deleted")
    return counts


def _cut_off(removal: Removal, reference: Reference) -> sa.Update:
    return sa.update(reference.child).where(removal.is_cut_off(reference)).values({reference.column: None})


def _count(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    count = sa.select(sa.func.count()).select_from(table)
    return count.where(table.c.survey_id == t.survey.c.id, *conditions).correlate(t.survey).scalar_subquery()


def _list(value: sa.ColumnElement[Any], *conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    query = sa.select(sa.func.coalesce(sa.func.jsonb_agg(value), sa.text("'[]'::jsonb")))
    return query.where(*conditions).correlate(t.survey).scalar_subquery()


def _records(chosen: Keys) -> sa.Select[Any]:
    """Return what the records say of each survey."""
    s, hold = t.survey, t.legal_hold
    released = sa.func.jsonb_build_object(
        *("hold_id", hold.c.id, "authority", hold.c.authority, "placed_by_id", hold.c.placed_by_id),
        *("placed_at", hold.c.placed_at, "removed_at", hold.c.removed_at),
    )
    is_warning = sa.and_(
        sent_notice.c.subject_id == sa.cast(s.c.id, sa.Text),
        sent_notice.c.kind.startswith(WARNING),
        sent_notice.c.period_start == deletion_day(),
        sent_notice.c.status.in_(SETTLED),
    )
    return sa.select(
        s.c.id.label("survey_id"),
        *(s.c.slug, s.c.owner_id, s.c.organization_id),
        *(s.c.deletion_date, s.c.deleted_at.label("soft_deleted_at"), s.c.hard_deletion_date),
        _count(t.response).label("responses"),
        _count(t.response, t.response.c.is_frozen).label("frozen_responses"),
        _count(t.question).label("questions"),
        _count(t.data_export).label("exports"),
        _count(t.data_subject_request, is_open_request()).label("open_requests"),
        sa.func.array_remove(
            array([sa.case((column.is_not(None), column.name), else_=None) for column in t.KEY_COLUMNS]), None
        ).label("keys_erased"),
        sa.func.jsonb_build_array(sa.func.format(VAULT_PATH, s.c.id))
        .op("||")(_list(t.key_escrow.c.vault_path, t.key_escrow.c.survey_id == s.c.id))
        .op("||")(
            _list(
                t.recovery_request.c.vault_recovery_path,
                t.recovery_request.c.survey_id == s.c.id,
                t.recovery_request.c.vault_recovery_path != "",
            )
        )
        .label("vault_paths_to_purge"),
        _list(released, hold.c.survey_id == s.c.id).label("released_holds"),
        _list(sent_notice.c.kind, is_warning).label("warnings"),
    ).where(is_any(s.c.id, chosen))
