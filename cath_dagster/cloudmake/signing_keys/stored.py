"""The signing keys as `jwt_keys` has them: the one that signs, those announced before they do, and those in grace."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from cath_dagster.cloudmake.tables import jwt_keys
from cath_dagster.core.extremes import on_calendar


@dataclass(frozen=True)
class StoredKey:
    """A row of `jwt_keys`."""

    kid: str
    encrypted_secret: str = field(repr=False)
    algorithm: str
    active: bool
    created_at: datetime
    rotated_at: datetime | None


@dataclass(frozen=True)
class StoredKeys:
    """All of them, the newest first."""

    keys: tuple[StoredKey, ...]

    @property
    def kids(self) -> frozenset[str]:
        return frozenset(key.kid for key in self.keys)

    @property
    def active(self) -> tuple[StoredKey, ...]:
        return tuple(key for key in self.keys if key.active)

    @property
    def announced(self) -> tuple[StoredKey, ...]:
        """Those that were made after the one that signs, to be known before they do."""
        return tuple(key for key in self._never_retired() if self._is_newer(key))

    @property
    def unstamped(self) -> tuple[StoredKey, ...]:
        """Those that something else has retired without saying when: before the one that signs was made."""
        return tuple(key for key in self._never_retired() if self.active and not self._is_newer(key))

    def published(self, as_of: datetime, grace: timedelta) -> tuple[StoredKey, ...]:
        """Return those by which a token may be verified: a key in grace verifies what it has signed."""
        retired = (key for key in self.keys if key.rotated_at is not None and not key.active)
        in_grace = (key for key in retired if key.rotated_at is not None and as_of - key.rotated_at <= grace)
        return (*self.active, *self.announced, *in_grace)

    def _never_retired(self) -> Sequence[StoredKey]:
        return [key for key in self.keys if not key.active and key.rotated_at is None]

    def _is_newer(self, key: StoredKey) -> bool:
        return any(key.created_at > active.created_at for active in self.active)


def read_keys(connection: sa.Connection) -> StoredKeys:
    """Return what is stored."""
    dates = {name: on_calendar(jwt_keys.c[name]).label(name) for name in ("created_at", "rotated_at")}
    columns = (dates.get(name, jwt_keys.c[name]) for name in StoredKey.__dataclass_fields__)
    query = sa.select(*columns).order_by(jwt_keys.c.created_at.desc(), jwt_keys.c.kid)
    return StoredKeys(tuple(StoredKey(*row) for row in connection.execute(query)))


def lock_keys(connection: sa.Connection) -> None:
    """Keep every other writer away until the transaction ends; services go on reading."""
    connection.execute(sa.text("LOCK TABLE public.jwt_keys IN SHARE ROW EXCLUSIVE MODE"))
