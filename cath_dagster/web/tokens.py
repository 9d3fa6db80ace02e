"""Bearer tokens: made here and shown once, known afterwards by a hash alone."""

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.errors import ConfigurationError, MaintenanceError
from cath_dagster.web import audit
from cath_dagster.web.rights import Action, Kind, Principal, Role
from cath_dagster.web.tables import console_token

PREFIX = "cdt"
"""So that scanners know one where it must not be."""
ACTOR = "token:"
"""What a token's name is known by."""
SECRET_BYTES = 32
"""Beyond all guessing; a fast hash is enough for what nobody can guess."""
PARTS = 3
SEEN_EVERY = timedelta(minutes=1)
"""How exact `last_used_at` is: not every request should write."""
MAX_NAME = 100


class TokenError(MaintenanceError):
    """There is no such token, or one already."""


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token that was just made; `token` is shown now and never again."""

    id: str
    name: str
    token: str


def create(
    connection: sa.Connection,
    principal: Principal,
    name: str,
    *,
    role: Role,
    locations: Sequence[str],
    expires_at: datetime | None,
    now: datetime,
) -> NewToken:
    """Make a token; raise `TokenError` where the name is taken, also by one that was revoked."""
    check_name(name)
    if expires_at is not None and expires_at <= now:
        raise ConfigurationError(f"a token that expires at {expires_at.isoformat()} is of no use now")
    token_id, secret = uuid.uuid4().hex[:12], secrets.token_urlsafe(SECRET_BYTES)
    made = (
        insert(console_token)
        .values(
            id=token_id,
            name=name,
            secret_hash=_hash(secret),
            role=role.value,
            locations=sorted(set(locations)),
            created_at=now,
            created_by=principal.actor,
            expires_at=expires_at,
        )
        .on_conflict_do_nothing()
        .returning(console_token.c.id)
    )
    if connection.scalar(made) is None:
        raise TokenError(
            f"there is a token {name!r} already, or was; take another name, so that the audit log is clear"
        )
    told = {"name": name, "role": role.value, "locations": sorted(set(locations))}
    told |= {"expires_at": expires_at.isoformat()} if expires_at else {}
    audit.append(connection, principal, Action.TOKEN, parameters=told, result="created")
    return NewToken(id=token_id, name=name, token=f"{PREFIX}_{token_id}_{secret}")


def revoke(connection: sa.Connection, principal: Principal, name: str, *, now: datetime) -> None:
    """End a token; raise `TokenError` where there is none that is not revoked."""
    ended = (
        sa.update(console_token)
        .where(console_token.c.name == name, console_token.c.revoked_at.is_(None))
        .values(revoked_at=now, revoked_by=principal.actor)
    )
    if not connection.execute(ended).rowcount:
        raise TokenError(f"there is no token {name!r}, or it is revoked already")
    audit.append(connection, principal, Action.TOKEN, parameters={"name": name}, result="revoked")


def read_tokens(connection: sa.Connection) -> list[Any]:
    """Return all tokens by name, without what they are known by."""
    shown = [column for column in console_token.c if column.name != "secret_hash"]
    return list(connection.execute(sa.select(*shown).order_by(console_token.c.name)).all())


def makers(connection: sa.Connection, actor: str) -> set[str]:
    """Return who made the token that an actor is, and whoever made his; nobody of a person."""
    found: set[str] = set()
    while actor.startswith(ACTOR) and actor not in found:
        found.add(actor)
        query = sa.select(console_token.c.created_by).where(console_token.c.name == actor.removeprefix(ACTOR))
        actor = connection.scalar(query) or ""
    return (found | {actor}) - {""}


def parse(token: str) -> tuple[str, str] | None:
    """Return a token's id and secret, None for what has not the form of one."""
    parts = token.split("_", PARTS - 1)
    if len(parts) != PARTS or parts[0] != PREFIX or not parts[1].isalnum():
        return None
    return parts[1], parts[2]


def check(connection: sa.Connection, token_id: str, secret: str, *, now: datetime, origin: str) -> Principal | None:
    """Return who a token stands for, None for a wrong, expired or revoked one; as long for the one as for the other."""
    row = connection.execute(sa.select(console_token).where(console_token.c.id == token_id)).one_or_none()
    known = row.secret_hash if row is not None else _hash("")
    is_right = hmac.compare_digest(_hash(secret), known)
    if row is None or not is_right or row.revoked_at is not None or (row.expires_at and row.expires_at <= now):
        return None
    if row.last_used_at is None or now - row.last_used_at > SEEN_EVERY:
        seen = sa.update(console_token).where(console_token.c.id == token_id).values(last_used_at=now)
        connection.execute(seen)
    roles = dict.fromkeys(row.locations, Role(row.role))
    return Principal(actor=f"{ACTOR}{row.name}", kind=Kind.TOKEN, roles=roles, origin=origin)


def check_name(name: str) -> None:
    """Raise `ConfigurationError` for a name that would not read well in a log."""
    if not name or len(name) > MAX_NAME or not all(letter.isalnum() or letter in "-_." for letter in name):
        raise ConfigurationError(
            f"a token is named by up to {MAX_NAME} letters, digits, -, _ and ., like ci-nightly; not {name[:MAX_NAME]!r}"
        )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
