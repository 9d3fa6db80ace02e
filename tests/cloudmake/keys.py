"""Encrypted values of a CloudMake, under one of two master keys, and which key each is under."""

import uuid
from typing import Any

from cath_dagster.cloudmake.keyring import NEW, OLD
from cath_dagster.cloudmake.openpgp import decrypt, encrypt, from_column, to_column
from cath_dagster.cloudmake.openpgp_packets import OpenPgpError
from cath_dagster.cloudmake.sealing import MasterKey, Sealed, UnopenedError, row_identity
from cath_dagster.cloudmake.signing_keys.signing_key import Algorithm, make_key
from tests.cloudmake.cloudmake import CloudMake

NEW_KEY, OLD_KEY, OTHER_KEY = ("".join([part] * 16) for part in ("new-", "old-", "lost"))
PLAINTEXT = "planted plaintext"
KEYS = {"new": MasterKey(NEW_KEY, "new"), "old": MasterKey(OLD_KEY, "old"), "other": MasterKey(OTHER_KEY, "other")}


def set_keys(cloudmake: CloudMake, new: str | None = NEW_KEY, old: str | None = OLD_KEY) -> None:
    """Say which keys a run knows."""
    for name, value in ((NEW, new), (OLD, old)):
        cloudmake.environ[name] = value or ""


def add_signing_key(
    cloudmake: CloudMake, *, days: float, retired_days: float | None = None, key: str = NEW_KEY, **values: Any
) -> str:
    """Add a signing key that was made so many days before `as_of`, and is active unless it was retired; return its kid."""
    made = make_key(Algorithm(values.pop("algorithm", "ES256")))
    row = {
        "kid": made.kid,
        "encrypted_secret": to_column(encrypt(made.secret.encode(), key)),
        "algorithm": made.algorithm.value,
        "active": retired_days is None,
        "created_at": cloudmake.ago(days=days),
        "rotated_at": None if retired_days is None else cloudmake.ago(days=retired_days),
    }
    kid: str = cloudmake.insert("jwt_keys", **{**row, **values})
    return kid


def add_metadata(cloudmake: CloudMake, key: str = OLD_KEY, *, text: str = PLAINTEXT, kind: str = "u") -> uuid.UUID:
    """Add a value of the service's."""
    return add_encrypted(cloudmake, to_column(encrypt(text.encode(), key, kind=kind)))


def add_encrypted(cloudmake: CloudMake, stored: str) -> uuid.UUID:
    """Add a row that holds just this."""
    row = {"id": uuid.uuid4(), "project_id": uuid.uuid4(), "environment_id": uuid.uuid4(), "name": "DATABASE_URL"}
    added: uuid.UUID = cloudmake.insert("secrets_metadata", **row, encrypted_metadata=stored)
    return added


def add_stored(cloudmake: CloudMake, key: str = "old", *, name: str = "TOKEN") -> uuid.UUID:
    """Add a secret of ours."""
    project = uuid.uuid4()
    sealed = KEYS[key].seal(PLAINTEXT.encode(), row_identity("stored_secret", project, "", name))
    values = {"key_id": sealed.key_id, "nonce": sealed.nonce, "sealed": sealed.sealed}
    cloudmake.insert("maintenance.stored_secret", project_id=project, name=name, **values)
    return project


def add_wrapped(cloudmake: CloudMake, key: str = "old", *, name: str = "hash") -> None:
    sealed = KEYS[key].seal(PLAINTEXT.encode(), row_identity("wrapped_key", name))
    values = {"key_id": sealed.key_id, "nonce": sealed.nonce, "sealed": sealed.sealed}
    cloudmake.insert("maintenance.wrapped_key", name=name, **values)


def opens(cloudmake: CloudMake) -> list[tuple[str, Any]]:
    """Return of every encrypted value the key that opens it, and what it holds; fails where none does."""
    stored = cloudmake.rows(
        "SELECT encrypted_metadata FROM secrets_metadata UNION ALL SELECT encrypted_secret FROM jwt_keys"
    )
    sealed = cloudmake.rows(
        "SELECT 'stored_secret', project_id || '/' || environment || '/' || name, key_id, nonce, sealed"
        " FROM maintenance.stored_secret"
        " UNION ALL SELECT 'wrapped_key', name, key_id, nonce, sealed FROM maintenance.wrapped_key"
    )
    return [_open_text(text) for (text,) in stored] + [_open_sealed(*row) for row in sealed]


def under(cloudmake: CloudMake) -> list[str]:
    """Return of every encrypted value the key that it is under, sorted."""
    return sorted(key for key, _ in opens(cloudmake))


def _open_text(text: str) -> tuple[str, Any]:
    for name, key in KEYS.items():
        try:
            return name, decrypt(from_column(text), key.text).content.decode()
        except OpenPgpError:
            continue
    raise AssertionError("a value opens under no key")


def _open_sealed(table: str, identity: str, key_id: str, nonce: bytes, sealed: bytes) -> tuple[str, Any]:
    for name, key in KEYS.items():
        try:
            return name, key.open(Sealed(key_id, nonce, sealed), f"{table}/{identity}").decode()
        except UnopenedError:
            continue
    raise AssertionError("a value opens under no key")
