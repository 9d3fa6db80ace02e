"""The document by which anybody verifies tokens (JWKS): public parts of the keys that sign, or may have signed a valid one."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cath_dagster.cloudmake.openpgp import decrypt, from_column
from cath_dagster.cloudmake.openpgp_packets import OpenPgpError
from cath_dagster.cloudmake.rows import write_row
from cath_dagster.cloudmake.sealing import Keyring
from cath_dagster.cloudmake.signing_keys.signing_key import PUBLIC_MEMBERS, Jwk, UnusableKeyError, public_jwk
from cath_dagster.cloudmake.signing_keys.stored import StoredKey
from cath_dagster.cloudmake.tables import jwks

PATH = "jwks.json"
"""Where in the store that `CLOUDMAKE_JWKS_URL` names."""
_ALWAYS = frozenset({"kid", "use", "alg"})

Document = dict[str, list[Jwk]]


@dataclass(frozen=True)
class Published:
    """What can be published of keys, and why not all of it can."""

    document: Document
    failures: tuple[str, ...] = ()


def make_document(keys: Iterable[StoredKey], keyring: Keyring, before: Mapping[str, Jwk]) -> Published:
    """Return the document of keys; of one that does not open, what was published of it before."""
    found: list[Jwk] = []
    failures: list[str] = []
    for key in keys:
        try:
            jwk = public_jwk(key.kid, key.algorithm, open_secret(key, keyring))
        except (OpenPgpError, UnusableKeyError) as error:
            jwk = before.get(key.kid)
            if jwk is None:
                failures.append(
                    f"the signing key {key.kid} cannot be published, so that no token of it verifies: {error}"
                )
        if jwk is not None:
            found.append(jwk)
    return Published({"keys": found}, tuple(failures))


def open_secret(key: StoredKey, keyring: Keyring) -> str:
    """Return what a key signs by; raise `OpenPgpError` where neither master key opens it."""
    message = from_column(key.encrypted_secret)
    try:
        opened = decrypt(message, keyring.new.text)
    except OpenPgpError:
        if keyring.old is None:
            raise
        opened = decrypt(message, keyring.old.text)
    return opened.content.decode(errors="replace")


def read_document(connection: sa.Connection) -> Document | None:
    """Return the document as it was written last."""
    return connection.scalar(sa.select(jwks.c.document))


def by_kid(document: Document | None) -> dict[str, Jwk]:
    """Return its keys by name, those alone that hold no secret."""
    keys = (document or {}).get("keys", [])
    return {key["kid"]: key for key in keys if not find_secrets({"keys": [key]})}


def write_document(connection: sa.Connection, document: Document, *, as_of: datetime, run_id: str) -> bool:
    """Write the document in the caller's transaction; return whether it is another one than before."""
    if read_document(connection) == document:
        return False
    values = {"document": document, "written_at": as_of, "run_id": run_id}
    write_row(connection, jwks, key={"only_one": True}, values=values)
    return True


def as_bytes(document: Document) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"


def find_secrets(document: Any) -> list[str]:
    """Return what of a document is not known to be public, by its place and name, never its value."""
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        return ["it is no list of keys"]
    found = [f"{name} beside the keys" for name in document if name != "keys"]
    for place, key in enumerate(keys, 1):
        members = PUBLIC_MEMBERS.get(str(key.get("kty")))
        if members is None:
            found.append(f"key {place} is of the type {key.get('kty')!r}, which has no public part")
        else:
            found += [f"{name} in key {place}" for name in sorted(key.keys() - _ALWAYS - set(members))]
    return found
