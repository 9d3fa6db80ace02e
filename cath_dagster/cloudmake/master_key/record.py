"""What is kept of master key rotations: which key followed which, when it began, and when every value was seen to open."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from cath_dagster.cloudmake.sealing import Keyring
from cath_dagster.cloudmake.tables import master_key_rotation as rotation
from cath_dagster.cloudmake.tables import secrets_metadata, wrapped_key
from cath_dagster.core.extremes import least_on_calendar
from cath_dagster.core.model.check import Verdict
from cath_dagster.core.postgres.database import Database

LONGEST = timedelta(days=365)
"""The specification rotates the key annually."""


def is_known(connection: sa.Connection, keyring: Keyring) -> bool:
    """Return whether a rotation from the old key to the new one has begun."""
    return bool(connection.scalar(sa.select(sa.exists().where(*_is_of(keyring)))))


def begin(connection: sa.Connection, keyring: Keyring, *, run_id: str, as_of: datetime) -> bool:
    """Record that a rotation begins; return whether it does, and not go on."""
    if connection.scalar(sa.select(sa.exists().where(*_is_of(keyring), rotation.c.verified_at.is_(None)))):
        return False
    connection.execute(
        sa.insert(rotation).values(
            to_key=keyring.new.fingerprint, from_key=_old(keyring), began_at=as_of, run_id=run_id, counts={}
        )
    )
    return True


def finish(
    connection: sa.Connection, keyring: Keyring, *, as_of: datetime, counts: Mapping[str, int]
) -> datetime | None:
    """Record that every value opens under the new key; return when the rotation began, None if that was known before."""
    return connection.scalar(
        sa.update(rotation)
        .where(*_is_of(keyring), rotation.c.verified_at.is_(None))
        .values(verified_at=as_of, counts=dict(counts))
        .returning(rotation.c.began_at)
    )


def judge_age(database: Database, as_of: datetime) -> Verdict:
    """Judge how old the master key is; where no rotation of ours is known, by the oldest value that is under it."""

    def read(connection: sa.Connection) -> sa.Row[tuple[datetime | None, datetime | None]]:
        rotated_at = sa.select(sa.func.max(rotation.c.began_at)).where(rotation.c.verified_at.is_not(None))
        oldest = [
            sa.select(least_on_calendar(table.c.created_at)).scalar_subquery()
            for table in (secrets_metadata, wrapped_key)
        ]
        return connection.execute(sa.select(rotated_at.scalar_subquery(), sa.func.least(*oldest))).one()

    rotated_at, oldest_at = database.transaction(read)
    since = rotated_at or oldest_at
    if since is None:
        return Verdict(passed=True, message="no rotation is recorded, and nothing tells how old the key is")
    days = max(0, (as_of - since).days)
    known = "the master key is" if rotated_at else "no rotation is recorded; the master key is at least"
    return Verdict(
        passed=as_of - since <= LONGEST,
        message=f"{known} {days} days old; it is to be rotated every {LONGEST.days} days",
        details={"days": days},
    )


def _is_of(keyring: Keyring) -> tuple[sa.ColumnElement[bool], ...]:
    return rotation.c.to_key == keyring.new.fingerprint, rotation.c.from_key == _old(keyring)


def _old(keyring: Keyring) -> str:
    assert keyring.old is not None  # noqa: S101 - who rotates has seen to it
    return keyring.old.fingerprint
