"""Refresh one business's SHAAM credential, so that no refresh token is spent twice and no new one is lost.

The credential's row is locked from before its refresh token is read until the new tokens are committed. The exchange is
made once, whatever becomes of the database meanwhile: the answer outlives the transaction, and is saved by a later one if
the row still has the token that was spent. A token that the provider refuses may have been spent by the service itself a
moment ago: what becomes of it is decided later, by `bon/refusals.py`. docs/adr/0016-token-refresh.md goes through what a
crash can do.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.bon.tables import business_shaam_credentials as credentials
from cath_dagster.bon.token_cipher import TokenCipher, UnreadableTokenError
from cath_dagster.core.errors import DatabaseUnavailableError, MaintenanceError
from cath_dagster.core.ports.tokens import Grant, RefreshError
from cath_dagster.core.postgres.database import Database

SAVE_ATTEMPTS = 10
"""Each waits some 13 s for the database: longer than a failover, for tokens that exist nowhere else."""


class Ending(enum.StrEnum):
    REFRESHED = "refreshed"
    REFUSED = "refused"
    """The provider takes its refresh token no more; whether the service has another by now is yet to be seen."""
    REVOKED = "revoked"
    """Refused, and no other came: it is flagged."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Another run has it, the service has refreshed it itself, or it is not due any more."""


@dataclass(frozen=True)
class Stored:
    """A credential as its row had it. Its instants are text, to be compared: the row may hold what Python does not."""

    encrypted_access_token: str = field(repr=False)
    encrypted_refresh_token: str = field(repr=False)
    token_expires_at: str
    updated_at: str
    needs_reauth: bool


@dataclass(frozen=True)
class Ended:
    """How it ended for one business."""

    business_id: UUID
    ending: Ending
    error: str | None = None
    is_outage: bool = False
    refused: Stored | None = None
    """Of a refused one, what its token was taken from."""


@dataclass(frozen=True, kw_only=True)
class Refresher:
    """What every refresh of a run needs. `ask` spends a refresh token; `on_change` records a change in its transaction."""

    ask: Callable[[str], Grant]
    cipher: TokenCipher
    until: datetime
    """A token that expires by then is due."""
    default_lifetime: timedelta
    now: Callable[[], datetime]
    on_change: Callable[[sa.Connection, Ended], None]

    def refresh(self, database: Database, business_id: UUID) -> Ended:
        """Refresh the credential of a business; owns its transactions."""
        return _Exchange(self, business_id).run(database)


def is_due(until: datetime) -> sa.ColumnElement[bool]:
    """Return whether a credential's token expires by then, or has already, and may be refreshed."""
    return sa.and_(credentials.c.token_expires_at <= until, sa.not_(credentials.c.needs_reauth))


def read_stored(connection: sa.Connection, query: sa.Select[Any]) -> Stored | None:
    """Return the one credential that a query over their rows chooses, None if it is not there."""
    stored = [credentials.c[each.name] for each in fields(Stored)]
    columns = (sa.cast(each, sa.Text) if isinstance(each.type, sa.DateTime) else each for each in stored)
    row = connection.execute(query.with_only_columns(*columns)).one_or_none()
    return None if row is None else Stored(*row)


class _Exchange:
    """One credential's way: asked once, saved as often as it takes."""

    def __init__(self, refresher: Refresher, business_id: UUID) -> None:
        self._by = refresher
        self._business_id = business_id
        self._spent: str | None = None
        self._values: dict[str, object] = {}
        self._ended: Ended | None = None

    def run(self, database: Database) -> Ended:
        failure: MaintenanceError | None = None
        for _ in range(SAVE_ATTEMPTS):
            try:
                return database.transaction(self._work)
            except DatabaseUnavailableError as error:
                failure = error
                if not self._values:
                    break
            except MaintenanceError as error:
                failure = error
                break
        lost = "new tokens came and could not be saved; the owner may have to authorise again: " if self._values else ""
        return self._end(Ending.FAILED, f"{lost}{failure}")

    def _work(self, connection: sa.Connection) -> Ended:
        """Do all of it in one transaction; run again, only what is left of it."""
        if self._ended is None:
            row = self._lock(connection, skip_locked=True)
            if row is None:
                return self._end(Ending.SKIPPED)
            self._spent = row.encrypted_refresh_token
            self._ended = self._exchange(row)
        else:
            # The lost session may hold the row still; it is waited for.
            row = self._lock(connection, skip_locked=False)
        if not self._values:
            return self._ended
        if row is None or row.encrypted_refresh_token != self._spent:
            return self._ended if self._is_saved(row) else self._end(Ending.SKIPPED)
        # Whoever was refused the token that was spent here may have flagged it meanwhile: these are the tokens it misses.
        connection.execute(
            sa.update(credentials)
            .where(credentials.c.business_id == self._business_id)
            .values(**self._values, needs_reauth=sa.false(), updated_at=sa.func.now())
        )
        self._by.on_change(connection, self._ended)
        return self._ended

    def _is_saved(self, row: Stored | None) -> bool:
        """Return whether the commit came through after all; else the owner has authorised anew meanwhile, which stands."""
        return row is not None and row.encrypted_refresh_token == self._values["encrypted_refresh_token"]

    def _lock(self, connection: sa.Connection, *, skip_locked: bool) -> Stored | None:
        query = sa.select(credentials).where(credentials.c.business_id == self._business_id)
        if skip_locked:
            query = query.where(is_due(self._by.until))
        return read_stored(connection, query.with_for_update(skip_locked=skip_locked))

    def _exchange(self, row: Stored) -> Ended:
        """Spend the refresh token and keep what is to be saved."""
        try:
            refresh_token = self._by.cipher.decrypt(row.encrypted_refresh_token)
        except UnreadableTokenError:
            return self._end(Ending.FAILED, "the stored refresh token cannot be decrypted: another key, or damaged")
        try:
            grant = self._by.ask(refresh_token)
        except RefreshError as refused:
            if refused.is_revoked:
                return Ended(self._business_id, Ending.REFUSED, refused.says, refused=row)
            return self._end(Ending.FAILED, refused.says, is_outage=refused.is_outage)
        self._values = {
            "encrypted_access_token": self._by.cipher.encrypt(grant.access_token),
            "encrypted_refresh_token": self._by.cipher.encrypt(grant.refresh_token or refresh_token),
            "token_expires_at": grant.expires_at or self._by.now() + self._by.default_lifetime,
            **({"scope": grant.scope} if grant.scope else {}),
        }
        return self._end(Ending.REFRESHED)

    def _end(self, ending: Ending, error: str | None = None, *, is_outage: bool = False) -> Ended:
        return Ended(self._business_id, ending, error, is_outage)
