"""What a browser keeps: the session of a developer's machine, and what proves that a form came from a page of ours."""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.web import audit
from cath_dagster.web.rights import EVERYWHERE, Kind, Principal, Role
from cath_dagster.web.tables import console_session

SESSION_COOKIE = "cath_dagster_session"
FORM_COOKIE = "cath_dagster_form"
FORM_FIELD = "csrf_token"
FORM_HEADER = "X-CSRF-Token"
LASTS = timedelta(hours=12)
LOCAL_ADMIN = "local-admin"
_BYTES = 32


def sign_in(
    connection: sa.Connection, code: str, expected: str, *, known: str | None, now: datetime, origin: str
) -> str | None:
    """Return a new session's cookie for the one-time code, None for a wrong or a used one.

    The session is always a new one: what the browser had before, `known`, is ended, so that nobody can have put it there.
    """
    if not expected or not hmac.compare_digest(code.encode(errors="replace"), expected.encode()):
        return None
    cookie = secrets.token_urlsafe(_BYTES)
    made = (
        insert(console_session)
        .values(
            session_hash=_hash(cookie),
            code_hash=_hash(code),
            actor=LOCAL_ADMIN,
            created_at=now,
            expires_at=now + LASTS,
        )
        .on_conflict_do_nothing()
        .returning(console_session.c.session_hash)
    )
    if connection.scalar(made) is None:
        return None
    if known:
        sign_out(connection, known, now=now)
    audit.append(connection, _local_admin(origin), "sign-in")
    return cookie


def find(connection: sa.Connection, cookie: str, *, now: datetime, origin: str) -> Principal | None:
    """Return who a session stands for, None for one that is unknown or over."""
    query = sa.select(console_session.c.expires_at).where(console_session.c.session_hash == _hash(cookie))
    expires_at = connection.scalar(query)
    return _local_admin(origin) if expires_at is not None and now < expires_at else None


def sign_out(connection: sa.Connection, cookie: str, *, now: datetime) -> None:
    """End a session; its code stays used."""
    ended = sa.update(console_session).where(console_session.c.session_hash == _hash(cookie)).values(expires_at=now)
    connection.execute(ended)


def new_form_cookie() -> str:
    return secrets.token_urlsafe(_BYTES)


def form_token(cookie: str, actor: str) -> str:
    """Return what a form must bring along: whoever cannot read the cookie cannot compute it, nor for another person."""
    return hmac.new(cookie.encode(), actor.encode(), hashlib.sha256).hexdigest()


def is_form_token(token: str, cookie: str | None, actor: str) -> bool:
    if not cookie:
        return False
    return hmac.compare_digest(token.encode(errors="replace"), form_token(cookie, actor).encode())


def _local_admin(origin: str) -> Principal:
    return Principal(actor=LOCAL_ADMIN, kind=Kind.LOCAL, roles={EVERYWHERE: Role.ADMIN}, origin=origin)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
