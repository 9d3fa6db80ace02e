"""Record how it ended for a secret, in one transaction: our rows, the service's mapping, the event, the audit and the ledger."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cath_dagster.cloudmake.environment import ALIASES
from cath_dagster.cloudmake.github_secrets import events
from cath_dagster.cloudmake.github_secrets.drafts import Draft
from cath_dagster.cloudmake.github_secrets.endings import STATES, Ended, Ending, first_error, mapping_status
from cath_dagster.cloudmake.github_secrets.hashes import Hasher, HashKind
from cath_dagster.cloudmake.github_secrets.targets import Known, Rows, State
from cath_dagster.cloudmake.github_secrets.wanted import EnvironmentNames, Wanted, WantedSecret
from cath_dagster.cloudmake.tables import secret_mappings
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.ports.github import Place, Quota

TABLE = secret_mappings.name
WRITING = "secrets that GitHub has not, or has otherwise"
DELETING = "secrets that neither a mapping nor the source has any more"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Each method works in the caller's transaction, which may be run again."""

    ledger: Ledger
    events: events.Events
    hasher: Hasher
    hash_kind: HashKind
    names: EnvironmentNames
    now: Callable[[], datetime]

    def secret(
        self,
        connection: sa.Connection,
        draft: Draft,
        secret: WantedSecret,
        ended: Sequence[Ended],
        rows: Rows,
        quota: Quota | None,
        seconds: float,
    ) -> None:
        """Record a secret that is wanted."""
        touched = [
            each for each, wanted in zip(ended, secret.targets, strict=True)
            if self._row(connection, draft, secret, wanted, each, rows)
        ]  # fmt: skip
        self._mapping(connection, draft, secret, ended)
        if not touched:
            return
        is_new = any(each.is_new for each in touched)
        operation = events.CREATE if is_new else events.UPDATE
        self._tell(connection, draft, secret.mapping.name, operation, touched, seconds)
        synced = [each for each in touched if each.ending is Ending.SYNCED]
        for each in synced:
            self._audit(connection, draft, each)
        self.ledger.record_batch(connection, {TABLE: {"updated": len(synced)}}, rule=WRITING)
        self.quota(connection, draft, quota)

    def removal(
        self,
        connection: sa.Connection,
        draft: Draft,
        name: str,
        ended: Sequence[Ended],
        rows: Rows,
        quota: Quota | None,
        seconds: float,
    ) -> None:
        """Record a secret that is wanted no longer."""
        touched = [each for each in ended if self._removed_row(connection, draft, name, each, rows)]
        if not touched:
            return
        self._tell(connection, draft, name, events.DELETE, touched, seconds)
        deleted = sum(each.ending is Ending.DELETED for each in touched)
        self.ledger.record_batch(connection, {TABLE: {"deleted": deleted}}, rule=DELETING)
        self.quota(connection, draft, quota)

    def project(
        self, connection: sa.Connection, draft: Draft, ended: Sequence[Ended], quota: Quota | None, seconds: float
    ) -> None:
        """Record that all secrets of a project were seen to: a place of it failed where any secret did there."""
        self.quota(connection, draft, quota)
        places = {each.target: True for each in ended}
        places |= {each.target: False for each in ended if not each.is_good}
        if places:
            good = [target for target, is_good in places.items() if is_good]
            bad = [target for target, is_good in places.items() if not is_good]
            self.events.tell(
                connection,
                events.Told(
                    project_id=draft.project.project_id,
                    operation=events.SYNC_ALL,
                    secret_name=None,
                    succeeded=good,
                    failed=bad,
                    error=first_error(ended),
                    milliseconds=round(seconds * 1_000),
                ),
            )

    def quota(self, connection: sa.Connection, draft: Draft, quota: Quota | None) -> None:
        if quota is not None:
            events.write_quota(connection, draft.project.project_id, quota, checked_at=self.now())

    def _row(
        self, connection: sa.Connection, draft: Draft, secret: WantedSecret, wanted: Wanted, ended: Ended, rows: Rows
    ) -> bool:
        """Bring our row level; return whether anything was done, or is not as it was."""
        name, known = secret.mapping.name, draft.known.get((secret.mapping.name, ended.target))
        if ended.ending is Ending.SYNCED:
            assert ended.remote is not None  # noqa: S101 - what GitHub said of it
            at = ended.remote.updated_at
            rows.confirm(connection, name, ended.target, ended.name, value_hash=ended.value_hash, remote_at=at)
            return True
        state = self._state(draft, wanted, known, ended)
        if state is None or (not ended.in_doubt and _says(known, state, ended.error)):
            return False
        rows.note(connection, name, ended.target, ended.name, state, ended.error, in_doubt=_keeps_doubt(ended))
        # What is as it should be now, or is merely put off, is no event.
        return state not in {State.WRITTEN, State.PENDING}

    def _state(self, draft: Draft, wanted: Wanted, known: Known | None, ended: Ended) -> State | None:
        if ended.ending is Ending.SKIPPED:
            return State.WRITTEN
        if ended.ending is not Ending.LEFT:
            return STATES[ended.ending]
        # It was not looked at, and may differ from the last write by nothing.
        return None if self._is_as_written(draft, wanted, known) else State.PENDING

    def _is_as_written(self, draft: Draft, wanted: Wanted, known: Known | None) -> bool:
        if known is None or known.state is not State.WRITTEN or wanted.value is None:
            return False
        return self.hasher.matches(known.value_hash, draft.project.project_id, wanted.name, wanted.value)

    def _removed_row(self, connection: sa.Connection, draft: Draft, name: str, ended: Ended, rows: Rows) -> bool:
        if ended.ending is Ending.DELETED:
            rows.forget(connection, name, ended.target)
            return True
        known = draft.known.get((name, ended.target))
        state = State.PENDING if ended.ending is Ending.LEFT else STATES[ended.ending]
        if not _says(known, state, ended.error):
            rows.note(connection, name, ended.target, ended.name, state, ended.error, in_doubt=True)
            return state is not State.PENDING
        return False

    def _mapping(self, connection: sa.Connection, draft: Draft, secret: WantedSecret, ended: Sequence[Ended]) -> None:
        """Bring the service's row level, if it is not."""
        mapping, status = secret.mapping, mapping_status(ended)
        values: dict[str, Any] = {}
        error = first_error(ended)
        if (mapping.status, mapping.error) != (status, error):
            values = {"sync_status": status, "error_message": error}
        if status == "synced":
            values |= self._new_hash(draft, secret)
        if any(each.ending is Ending.SYNCED for each in ended):
            values["last_synced_at"] = self.events.as_of
        if values:
            connection.execute(
                sa.update(secret_mappings)
                .where(secret_mappings.c.id == mapping.mapping_id)
                .values(**values, updated_at=sa.func.now())
            )

    def _new_hash(self, draft: Draft, secret: WantedSecret) -> dict[str, Any]:
        """Return the hash that the mapping should have, where it has another; a plain one of the same value stays until a write."""
        project_id, mapping = draft.project.project_id, secret.mapping
        value = next((each.value for each in secret.targets if each.value is not None), None)
        if value is None or self.hasher.matches(mapping.value_hash, project_id, mapping.name, value):
            return {}
        return {"value_hash": self.hasher.shown(self.hash_kind, project_id, mapping.name, value)}

    def _tell(
        self,
        connection: sa.Connection,
        draft: Draft,
        name: str,
        operation: str,
        touched: Sequence[Ended],
        seconds: float,
    ) -> None:
        told = events.Told(
            project_id=draft.project.project_id,
            operation=operation,
            secret_name=name,
            succeeded=[each.target for each in touched if each.is_good],
            failed=[each.target for each in touched if not each.is_good],
            error=first_error(touched),
            milliseconds=round(seconds * 1_000),
        )
        self.events.tell(connection, told)

    def _audit(self, connection: sa.Connection, draft: Draft, ended: Ended) -> None:
        """Audit a secret of an environment, where the service has a row for that."""
        theirs = Place.parse(ended.target).environment
        ours = next((each for each, name in self.names.items() if name == theirs), None)
        words = [theirs, *([ours] if ours else []), *(word for word, each in ALIASES.items() if each is ours)]
        found = next(
            (draft.project.environment_ids[word] for word in words if word in draft.project.environment_ids), None
        )
        if theirs and found is not None:
            self.events.audit(connection, draft.project.project_id, found, ended.name)


def _says(known: Known | None, state: State, error: str | None) -> bool:
    """Return whether our row says already how it stands."""
    return known is not None and known.state is state and known.error == error and known.pending_since is None


def _keeps_doubt(ended: Ended) -> bool:
    """Return whether a write that was announced may still have come, for all that is known."""
    return ended.in_doubt or ended.ending in {Ending.LEFT, Ending.FAILED, Ending.MISSING}
