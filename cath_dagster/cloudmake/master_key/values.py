"""The values that are encrypted under the master key: the service's, as OpenPGP text, and ours, sealed into their rows."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from cath_dagster.cloudmake.openpgp import Opened, WrongKeyError, decrypt, encrypt, from_column, to_column
from cath_dagster.cloudmake.openpgp_packets import OpenPgpError
from cath_dagster.cloudmake.sealing import Keyring, MasterKey, Sealed, UnopenedError, row_identity
from cath_dagster.cloudmake.tables import jwt_keys, secrets_metadata, stored_secret, wrapped_key


class Under(enum.Enum):
    """Which key a value is under."""

    NEW = "new"
    OLD = "old"
    NEITHER = "neither"


@dataclass(frozen=True)
class Value:
    """A value as it stands in its row: the row's key, and what the encrypted columns hold."""

    key: tuple[Any, ...]
    stored: tuple[Any, ...] = field(repr=False)


@dataclass(frozen=True)
class Found:
    """Which key a value is under, and what it holds; where it opens under neither, why."""

    under: Under
    content: Any = field(default=None, repr=False)
    why: str = ""


class Form(Protocol):
    """How the columns of a table hold an encrypted value."""

    def open(self, key: MasterKey, table: str, value: Value) -> Any:
        """Return the content; raise `OpenPgpError` or `UnopenedError`."""
        ...

    def close(self, key: MasterKey, table: str, value: Value, content: Any) -> tuple[Any, ...]:
        """Return what the columns hold under another key."""
        ...


class AsOpenPgp:
    """One column of text. Content stays of the kind that it is: what is binary is read by another function than text."""

    def open(self, key: MasterKey, table: str, value: Value) -> Opened:
        del table
        return decrypt(from_column(value.stored[0]), key.text)

    def close(self, key: MasterKey, table: str, value: Value, content: Opened) -> tuple[Any, ...]:
        del table, value
        return (to_column(encrypt(content.content, key.text, kind=content.kind)),)


class AsSealed:
    """Three columns: by which key, the nonce, and the sealed value, which is bound to its row."""

    def open(self, key: MasterKey, table: str, value: Value) -> bytes:
        key_id, nonce, sealed = value.stored
        identity = row_identity(table, *value.key)
        if key_id != key.fingerprint:
            raise UnopenedError(f"{identity} is under the key {key_id}")
        return key.open(Sealed(key_id, bytes(nonce), bytes(sealed)), identity)

    def close(self, key: MasterKey, table: str, value: Value, content: bytes) -> tuple[Any, ...]:
        sealed = key.seal(content, row_identity(table, *value.key))
        return sealed.key_id, sealed.nonce, sealed.sealed


@dataclass(frozen=True)
class EncryptedTable:
    """A table with an encrypted value in each row."""

    table: sa.Table
    columns: tuple[sa.Column[Any], ...]
    form: Form

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def _key(self) -> tuple[sa.Column[Any], ...]:
        return tuple(self.table.primary_key.columns)

    def count(self) -> sa.Select[tuple[int]]:
        return sa.select(sa.func.count()).select_from(self.table)

    def read(self, connection: sa.Connection, after: Value | None, limit: int) -> list[Value]:
        """Return the next values in the order of their keys."""
        query = sa.select(*self._key, *self.columns).order_by(*self._key).limit(limit)
        if after is not None:
            query = query.where(sa.tuple_(*self._key) > sa.tuple_(*after.key))
        keys = len(self._key)
        return [Value(tuple(row[:keys]), tuple(row[keys:])) for row in connection.execute(query)]

    def find(self, keyring: Keyring, value: Value, likely: Under = Under.OLD) -> Found:
        """Return under which key a value is; the likely one is tried first, since each costs as much as a guess."""
        why = ""
        keys = [(Under.OLD, keyring.old), (Under.NEW, keyring.new)]
        for under, key in sorted(keys, key=lambda each: each[0] is not likely):
            if key is None:
                continue
            try:
                return Found(under, self.form.open(key, self.name, value))
            except WrongKeyError as error:
                why = why or str(error)
            except (OpenPgpError, UnopenedError) as error:
                why = str(error)
        return Found(Under.NEITHER, why=why)

    def write(self, connection: sa.Connection, changes: Sequence[tuple[Value, tuple[Any, ...]]]) -> int:
        """Write what has come of values, each where its row still holds what was read; return how many did.

        The caller owns the transaction. One statement writes them all.
        """
        parts: dict[str, tuple[sa.Column[Any], list[Any]]] = {}
        for i, column in enumerate(self._key):
            parts[f"key_{column.name}"] = column, [value.key[i] for value, _ in changes]
        for i, column in enumerate(self.columns):
            parts[f"was_{column.name}"] = column, [value.stored[i] for value, _ in changes]
            parts[f"to_{column.name}"] = column, [stored[i] for _, stored in changes]
        arrays = (sa.literal(items, ARRAY(column.type)) for column, items in parts.values())
        names = (sa.column(name, column.type) for name, (column, _) in parts.items())
        given = sa.func.unnest(*arrays).table_valued(*names, name="given").render_derived()
        statement = (
            sa.update(self.table)
            .values({column: given.c[f"to_{column.name}"] for column in self.columns})
            .where(*(column == given.c[f"key_{column.name}"] for column in self._key))
            .where(*(column == given.c[f"was_{column.name}"] for column in self.columns))
        )
        return connection.execute(statement).rowcount


_SEALED = ("key_id", "nonce", "sealed")
ENCRYPTED: tuple[EncryptedTable, ...] = (
    EncryptedTable(jwt_keys, (jwt_keys.c.encrypted_secret,), AsOpenPgp()),
    EncryptedTable(secrets_metadata, (secrets_metadata.c.encrypted_metadata,), AsOpenPgp()),
    EncryptedTable(stored_secret, tuple(stored_secret.c[name] for name in _SEALED), AsSealed()),
    EncryptedTable(wrapped_key, tuple(wrapped_key.c[name] for name in _SEALED), AsSealed()),
)
"""Every table with values under the master key."""
