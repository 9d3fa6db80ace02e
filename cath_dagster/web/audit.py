"""The audit log: who did what, when, from where, with what result. It only grows, and each row is linked to the one before it.

Whoever changes something adds the row in the same transaction. What is done elsewhere, in Dagster, has a row before it, which
has its nonce, and one after it that says what became of it: a kill in between leaves the first.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.web.rights import Action, Principal
from cath_dagster.web.tables import audit_log

DONE = "done"
REQUESTED = "requested"
"""The result of a row before an action elsewhere."""
PAGE = 5_000
"""Rows that are verified at a time: a log of years does not come into memory at once."""


@dataclass(frozen=True)
class Fault:
    """The first row that is not what it was, or is missing."""

    sequence: int
    says: str


@dataclass(frozen=True)
class Head:
    """The newest row, to be kept elsewhere: without it nobody can tell that rows are missing at the end."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"


@dataclass(frozen=True)
class Subject:
    """What an action is about."""

    location: str | None = None
    job: str | None = None
    run_id: str | None = None


NOTHING = Subject()


def append(
    connection: sa.Connection,
    principal: Principal,
    action: Action | str,
    subject: Subject = NOTHING,
    *,
    nonce: str | None = None,
    reason: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    result: str = DONE,
) -> None:
    """Add a row, in the caller's transaction; from here to its end nobody else adds one."""
    connection.execute(
        sa.insert(audit_log)
        .inline()
        .values(
            actor=principal.actor,
            origin=principal.origin,
            action=str(action),
            location=subject.location,
            job=subject.job,
            run_id=subject.run_id,
            nonce=nonce,
            reason=reason,
            parameters=dict(parameters or {}),
            result=result,
        )
    )


def parse_head(text: str) -> Head:
    """Return a head as it was printed; raise `ConfigurationError` for what is none."""
    sequence, _, found = text.strip().partition(":")
    if not sequence.isdigit() or (found and len(found) != hashlib.sha256().digest_size * 2):
        raise ConfigurationError(f"{text[:100]!r} is nothing that `cath-dagster audit head` prints, such as 17:3b0c…")
    return Head(int(sequence), found)


def read_head(connection: sa.Connection) -> Head:
    """Return the newest row's number and hash; 0 and nothing of an empty log."""
    newest = sa.select(audit_log.c.sequence, audit_log.c.hash).order_by(audit_log.c.sequence.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return Head(row.sequence, row.hash) if row is not None else Head(0, "")


def verify(connection: sa.Connection, kept: Head | None = None) -> Fault | None:
    """Return the first fault of the log, None if it has none.

    With a head that was `kept` elsewhere, also that the row is missing at the end, or is another.
    """
    expected, previous = 1, ""
    for row in _rows(connection):
        if row.sequence != expected:
            return Fault(expected, "is missing")
        if row.previous_hash != previous:
            return Fault(row.sequence, "does not follow the row before it")
        if row.hash != _hash(row):
            return Fault(row.sequence, "was altered")
        if kept is not None and row.sequence == kept.sequence and row.hash != kept.hash:
            return Fault(row.sequence, "is not the row whose hash was kept")
        expected, previous = expected + 1, row.hash
    if kept is not None and kept.sequence >= expected:
        return Fault(expected, f"is missing: there were {kept.sequence} rows when the head was kept")
    return None


def _rows(connection: sa.Connection) -> Iterator[Any]:
    """Yield every row as the text that its hash was made of."""
    after = 0
    columns = (
        audit_log.c.sequence,
        sa.cast(sa.func.extract("epoch", audit_log.c.at) * 1_000_000, sa.BigInteger).label("microseconds"),
        *(audit_log.c[name] for name in ("actor", "origin", "action", "location", "job", "run_id", "nonce", "reason")),
        sa.cast(audit_log.c.parameters, sa.Text).label("parameters"),
        *(audit_log.c[name] for name in ("result", "previous_hash", "hash")),
    )
    while True:
        page = sa.select(*columns).where(audit_log.c.sequence > after).order_by(audit_log.c.sequence).limit(PAGE)
        rows = connection.execute(page).all()
        yield from rows
        if len(rows) < PAGE:
            return
        after = rows[-1].sequence


def _hash(row: Any) -> str:
    parts = [None if part is None else str(part) for part in row[:-1]]
    text = ",".join("-" if part is None else f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()
