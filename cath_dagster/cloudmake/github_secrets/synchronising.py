"""Bring the secrets of one project to GitHub, secret by secret, each in all its places or in none.

Every write is announced in a transaction before it is sent. How it ended for a secret is recorded in one transaction: its
places, its mapping, the event, the audit and the ledger. So a kill leaves a secret told in full, or in doubt and done again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from cath_dagster.cloudmake.github_secrets.budget import Budget
from cath_dagster.cloudmake.github_secrets.drafts import Draft
from cath_dagster.cloudmake.github_secrets.endings import Ended, Ending
from cath_dagster.cloudmake.github_secrets.hashes import Hasher
from cath_dagster.cloudmake.github_secrets.recording import Recording
from cath_dagster.cloudmake.github_secrets.repository import LeftError, RepositoryWork
from cath_dagster.cloudmake.github_secrets.targets import Action, Known, Rows, decide, may_delete
from cath_dagster.cloudmake.github_secrets.wanted import Wanted, WantedSecret
from cath_dagster.core.ports.github import GitHub, GitHubError, Place, RemoteSecret, Repository
from cath_dagster.core.postgres.database import Database

CONFLICT = "somebody else wrote it at GitHub; force overwrites it"


@dataclass(frozen=True, kw_only=True)
class Means:
    """What the work on every project is done with."""

    database: Database
    github: GitHub
    budget: Budget
    hasher: Hasher = field(repr=False)
    recording: Recording | None = None
    """None where nothing is done that would be recorded."""
    run_id: str
    as_of: datetime
    force: bool
    dry_run: bool
    now: Callable[[], datetime]
    """The provider's time, by which a write is announced; never a run's reference time."""
    clock: Callable[[], float]


@dataclass(frozen=True)
class _Judged:
    """A secret in one place as it was found; what needs no write has ended."""

    wanted: Wanted
    ended: Ended | None = None
    remote: RemoteSecret | None = None


class ProjectWork:
    """The work on one project."""

    def __init__(self, means: Means, draft: Draft, repository: Repository) -> None:
        self._by = means
        self._draft = draft
        self._project = draft.project
        self._at = RepositoryWork(means.github, repository, means.budget)
        self._rows = Rows(project_id=draft.project.project_id, run_id=means.run_id, as_of=means.as_of)

    def run(self) -> Iterator[Ended]:
        """Yield how it ended for each secret in each place; owns its transactions."""
        for secret in self._draft.secrets:
            if secret.targets:
                yield from self._bring(secret)
        yield from self._remove_gone()
        self._forget_settled()

    def _bring(self, secret: WantedSecret) -> list[Ended]:
        started = self._by.clock()
        judged = [self._judge(secret, each) for each in secret.targets]
        due = [each.wanted.place for each in judged if each.ended is None]
        may_write = not due or self._by.budget.has_room(requests=self._at.requests_to_write(due), writes=len(due))
        ended = [each.ended or self._write_or_leave(secret, each, may_write) for each in judged]
        if (recording := self._by.recording) is not None:
            seconds, quota = self._by.clock() - started, self._by.budget.quota
            self._by.database.transaction(
                lambda connection: recording.secret(connection, self._draft, secret, ended, self._rows, quota, seconds)
            )
        return ended

    def _judge(self, secret: WantedSecret, wanted: Wanted) -> _Judged:
        """Look at GitHub for one place, and tell what is to be done there."""

        def end(ending: Ending, error: str | None = None) -> _Judged:
            return _Judged(wanted, Ended(secret.mapping.name, wanted.target, wanted.name, ending, error))

        if wanted.value is None:
            return end(Ending.MISSING if wanted.is_missing else Ending.FAILED, wanted.fault)
        known, value = self._known(secret.mapping.name, wanted.target), wanted.value
        try:
            remote = self._at.find(wanted.place, wanted.name)
            if not self._at.has_room_at(wanted.place, wanted.name):
                return end(Ending.FAILED, "GitHub keeps 100 secrets there, and there are as many")
        except GitHubError as error:
            return end(Ending.FAILED, error.says)
        except LeftError:
            return end(Ending.LEFT)
        action = decide(
            known,
            remote,
            matches=lambda stored: self._by.hasher.matches(stored, self._project.project_id, wanted.name, value),
            force=self._by.force,
        )
        if action is Action.WRITE:
            return _Judged(wanted, remote=remote)
        return end(Ending.SKIPPED) if action is Action.SKIP else end(Ending.CONFLICT, CONFLICT)

    def _write_or_leave(self, secret: WantedSecret, judged: _Judged, may_write: bool) -> Ended:
        wanted, name = judged.wanted, secret.mapping.name
        # A limit may have ended the writing between two places of one secret.
        if not may_write or self._by.budget.ended:
            return Ended(name, wanted.target, wanted.name, Ending.LEFT)
        if self._by.dry_run:
            return Ended(name, wanted.target, wanted.name, Ending.SYNCED)
        return self._write(name, wanted, judged.remote)

    def _write(self, secret: str, wanted: Wanted, remote: RemoteSecret | None) -> Ended:
        assert wanted.value is not None  # noqa: S101 - what has no value was judged before
        value, place, in_doubt = wanted.value, wanted.place, False
        try:
            self._at.key(place)
            self._by.budget.await_turn()
            sent_at = self._by.now()
            self._announce(secret, wanted, remote, sent_at)
            in_doubt = True
            is_new, written = self._at.put(place, wanted.name, value, sent_at=sent_at)
        except GitHubError as error:
            return Ended(secret, wanted.target, wanted.name, Ending.FAILED, error.says, in_doubt=in_doubt)
        except LeftError:
            return Ended(secret, wanted.target, wanted.name, Ending.LEFT, in_doubt=in_doubt)
        value_hash = self._by.hasher.hash(self._project.project_id, wanted.name, value)
        return Ended(
            secret, wanted.target, wanted.name, Ending.SYNCED, remote=written, value_hash=value_hash, is_new=is_new
        )

    def _announce(self, secret: str, wanted: Wanted, remote: RemoteSecret | None, sent_at: datetime) -> None:
        after = remote.updated_at if remote else None
        self._by.database.transaction(
            lambda connection: self._rows.announce(
                connection, secret, wanted.target, wanted.name, sent_at=sent_at, after=after
            )
        )

    def _remove_gone(self) -> Iterator[Ended]:
        """Delete at GitHub what we wrote there and the source no longer has."""
        by_secret: dict[str, list[Known]] = {}
        for row in self._draft.gone:
            by_secret.setdefault(row.secret_name, []).append(row)
        for name, rows in by_secret.items():
            started = self._by.clock()
            ended = [self._remove(row) for row in rows]
            yield from ended
            self._record_removal(name, ended, self._by.clock() - started)

    def _record_removal(self, name: str, ended: Sequence[Ended], seconds: float) -> None:
        if (recording := self._by.recording) is not None:
            quota = self._by.budget.quota
            self._by.database.transaction(
                lambda connection: recording.removal(connection, self._draft, name, ended, self._rows, quota, seconds)
            )

    def _remove(self, row: Known) -> Ended:
        place = Place.parse(row.target)

        def end(ending: Ending, error: str | None = None) -> Ended:
            return Ended(row.secret_name, row.target, row.name_at_target, ending, error, in_doubt=True)

        try:
            remote = self._at.find(place, row.name_at_target)
            if remote is None:
                return end(Ending.DELETED)
            if not may_delete(row, remote, force=self._by.force):
                return end(Ending.CONFLICT, CONFLICT)
            if not self._by.budget.has_room(requests=1, writes=1):
                return end(Ending.LEFT)
            if not self._by.dry_run:
                self._by.budget.await_turn()
                self._at.delete(place, row.name_at_target)
        except GitHubError as error:
            return end(Ending.FAILED, error.says)
        except LeftError:
            return end(Ending.LEFT)
        return end(Ending.DELETED)

    def _forget_settled(self) -> None:
        """Drop rows about what is wanted no longer and was never written."""
        settled = self._draft.settled
        if settled and not self._by.dry_run:

            def forget(connection: sa.Connection) -> None:
                for row in settled:
                    self._rows.forget(connection, row.secret_name, row.target)

            self._by.database.transaction(forget)

    def _known(self, secret: str, target: str) -> Known | None:
        return self._draft.known.get((secret, target))
