"""Change the key that signs, in one transaction: the new one signs, the old one verifies through its grace, the audit knows."""

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from cath_dagster.cloudmake.audit import audit
from cath_dagster.cloudmake.signing_keys.signing_key import Algorithm
from cath_dagster.cloudmake.signing_keys.stored import StoredKey, StoredKeys
from cath_dagster.cloudmake.tables import jwt_keys
from cath_dagster.core.extremes import LAST_DAY

LAST_INSTANT = datetime(LAST_DAY.year, LAST_DAY.month, LAST_DAY.day, tzinfo=UTC)
ROTATION, ANNOUNCEMENT = "key_rotation", "key_announcement"


class Step(enum.StrEnum):
    """What is due."""

    NOTHING = "nothing"
    ANNOUNCE = "announce"
    ROTATE = "rotate"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """By what a rotation goes."""

    as_of: datetime
    max_age: timedelta
    publish_ahead: timedelta = timedelta()
    purge_after: timedelta
    keep: str = ""
    is_forced: bool = False
    is_emergency: bool = False

    def due_at(self, active: StoredKey) -> datetime:
        # Of one that says it was made at the end of the calendar there is no day that many days later.
        return min(active.created_at, LAST_INSTANT - self.max_age) + self.max_age

    def decide(self, keys: StoredKeys) -> Step:
        """Return what is due of keys of which one is active at most, or `keep` says which stays so."""
        active = next((key for key in keys.active if self.keep in ("", key.kid)), None)
        if active is None:
            return Step.ROTATE
        if self.is_forced:
            return Step.NOTHING if self._is_done(keys, active) else Step.ROTATE
        if self.as_of >= self.due_at(active) and self._was_announced(keys):
            return Step.ROTATE
        if self.publish_ahead and not keys.announced and self.as_of >= self.due_at(active) - self.publish_ahead:
            return Step.ANNOUNCE
        return Step.NOTHING

    def _is_done(self, keys: StoredKeys, active: StoredKey) -> bool:
        """Return whether a rotation by hand has been done at this very instant: a second one changes nothing."""
        return active.created_at >= self.as_of or any(key.rotated_at == self.as_of for key in keys.keys)

    def _was_announced(self, keys: StoredKeys) -> bool:
        return not self.publish_ahead or any(
            self.as_of - key.created_at >= self.publish_ahead for key in keys.announced
        )


@dataclass(frozen=True)
class NewKey:
    """A key as it will be stored."""

    kid: str
    algorithm: Algorithm
    encrypted_secret: str = field(repr=False)


@dataclass(frozen=True)
class Rotated:
    """What was done: which key signs since, and which no longer."""

    step: Step
    kid_in: str | None = None
    kids_out: tuple[str, ...] = ()


def find_objections(keys: StoredKeys, keep: str) -> list[str]:
    """Return why none of the keys can be said to be the one that signs."""
    active = sorted(key.kid for key in keys.active)
    if keep and keep not in active:
        return [f"keep names {keep}, which is not active; active are: {', '.join(active) or 'none'}"]
    if len(active) > 1 and not keep:
        return [
            f"{len(active)} signing keys are active, and one may be: {', '.join(active)}; name the right one as keep"
        ]
    return []


def rotate(connection: sa.Connection, keys: StoredKeys, new: NewKey, rules: Rules, *, run_id: str) -> Rotated:
    """Do what is due, in the caller's transaction, whose lock keeps other writers away.

    It is safe to repeat: where the new key is there, its commit came through.
    """
    work = _Work(connection, keys, rules, run_id)
    if new.kid in keys.kids:
        (stored,) = (key for key in keys.keys if key.kid == new.kid)
        return Rotated(Step.ROTATE if stored.active else Step.ANNOUNCE, new.kid)
    step = rules.decide(keys)
    if step is Step.ROTATE and rules.is_emergency:
        return Rotated(step, *work.replace(new))
    for key in keys.unstamped:
        work.retire(key, kid_in=None, at=keys.active[-1].created_at)
    if step is Step.ROTATE:
        return Rotated(step, *work.replace(new))
    out = work.settle(rules.keep)
    if step is Step.ANNOUNCE:
        work.announce(new)
    return Rotated(step, new.kid if step is Step.ANNOUNCE else None, out)


@dataclass(frozen=True)
class _Work:
    connection: sa.Connection
    keys: StoredKeys
    rules: Rules
    run_id: str

    def settle(self, keep: str) -> tuple[str, ...]:
        """Let of several active keys one stay so."""
        others = [key for key in self.keys.active if keep and key.kid != keep]
        for key in others:
            self.retire(key, kid_in=keep, at=self.rules.as_of)
        return tuple(key.kid for key in others)

    def replace(self, new: NewKey) -> tuple[str, tuple[str, ...]]:
        """Let another key sign: the one announced first, or a new one, which an emergency always wants."""
        announced = None if self.rules.is_emergency or not self.keys.announced else self.keys.announced[-1]
        kid = announced.kid if announced is not None else new.kid
        outgoing = self.keys.keys if self.rules.is_emergency else self.keys.active
        # By the date of its end a key that was given away is invalid at once for whoever reads it, and due to be deleted.
        at = self.rules.as_of - self.rules.purge_after if self.rules.is_emergency else self.rules.as_of
        for key in outgoing:
            self.retire(key, kid_in=kid, at=at)
        if not outgoing:
            self._audit(kid, None)
        if announced is not None:
            self.connection.execute(sa.update(jwt_keys).where(jwt_keys.c.kid == kid).values(active=True))
        else:
            self.insert(new, active=True)
        return kid, tuple(key.kid for key in outgoing)

    def announce(self, new: NewKey) -> None:
        """Store a key before it signs, so that everybody can know it by then."""
        self.insert(new, active=False)
        audit(self.connection, ANNOUNCEMENT, run_id=self.run_id, changes={"kid_in": new.kid})

    def insert(self, new: NewKey, *, active: bool) -> None:
        values = {"algorithm": new.algorithm.value, "encrypted_secret": new.encrypted_secret}
        self.connection.execute(
            sa.insert(jwt_keys).values(kid=new.kid, active=active, created_at=self.rules.as_of, **values)
        )

    def retire(self, key: StoredKey, *, kid_in: str | None, at: datetime) -> None:
        ended = at if key.rotated_at is None else min(at, key.rotated_at)
        self.connection.execute(
            sa.update(jwt_keys).where(jwt_keys.c.kid == key.kid).values(active=False, rotated_at=ended)
        )
        self._audit(kid_in, key.kid)

    def _audit(self, kid_in: str | None, kid_out: str | None) -> None:
        changes = {"kid_in": kid_in, "kid_out": kid_out, "is_emergency": self.rules.is_emergency}
        audit(self.connection, ROTATION, run_id=self.run_id, changes=changes)
