"""Tell whether a value is the one of last time without keeping it: an HMAC under a key of its own.

The key is random and wrapped under the master key. So a rotation of that wraps it anew, and changes no hash. A plain SHA-256, as
the service writes it, tells anybody who reads the table which of a thousand likely values it is; ours does not.
"""

import enum
import hashlib
import hmac
import os
from dataclasses import dataclass, field
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.cloudmake.sealing import Keyring, Sealed, row_identity
from cath_dagster.cloudmake.tables import wrapped_key

KEY_NAME = "secret_mappings"
KEY_BYTES = 32


class HashKind(enum.StrEnum):
    HMAC = "hmac"
    SHA256 = "sha256"


@dataclass(frozen=True)
class Hasher:
    key: bytes = field(repr=False)

    def hash(self, project_id: UUID, name: str, value: bytes) -> str:
        """Return 64 hexadecimal digits that say whether it is the same value, to who has the key."""
        content = b"\0".join((str(project_id).encode(), name.encode(), value))
        return hmac.new(self.key, content, hashlib.sha256).hexdigest()

    def shown(self, kind: HashKind, project_id: UUID, name: str, value: bytes) -> str:
        """Return what the service's own table gets."""
        return plain(value) if kind is HashKind.SHA256 else self.hash(project_id, name, value)

    def matches(self, stored: str | None, project_id: UUID, name: str, value: bytes) -> bool:
        """Return whether a stored hash is of this value, of either kind."""
        return stored is not None and any(
            hmac.compare_digest(stored, each) for each in (self.hash(project_id, name, value), plain(value))
        )


def plain(value: bytes) -> str:
    """Return the value's SHA-256, as the service writes it."""
    return hashlib.sha256(value).hexdigest()


def read_hasher(connection: sa.Connection, keyring: Keyring, *, may_write: bool) -> Hasher:
    """Return the hasher, with a new key where there is none yet, which is kept unless it may not be.

    Under the job's lock. Raises `UnopenedError` where the key does not open: with another, every secret would look changed.
    """
    table, identity = wrapped_key, row_identity(wrapped_key.name, KEY_NAME)
    query = sa.select(table.c.key_id, table.c.nonce, table.c.sealed).where(table.c.name == KEY_NAME)
    row = connection.execute(query).one_or_none()
    if row is not None:
        return Hasher(keyring.open(Sealed(row.key_id, bytes(row.nonce), bytes(row.sealed)), identity))
    key = os.urandom(KEY_BYTES)
    if may_write:
        sealed = keyring.seal(key, identity)
        values = {"key_id": sealed.key_id, "nonce": sealed.nonce, "sealed": sealed.sealed}
        connection.execute(sa.insert(table).values(name=KEY_NAME, **values))
    return Hasher(key)
