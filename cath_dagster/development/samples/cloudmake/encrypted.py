"""What the sample of CloudMake has under its master key: signing keys, metadata of secrets, and values for GitHub."""

import hashlib
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg

from cath_dagster.cloudmake.openpgp import encrypt, to_column
from cath_dagster.cloudmake.sealing import MasterKey, row_identity
from cath_dagster.cloudmake.signing_keys.signing_key import Algorithm, make_key

KEY = "5a" * 32
SECRETS = (
    ("dev", "DATABASE_URL"),
    ("staging", "DATABASE_URL"),
    ("production", "DATABASE_URL"),
    ("", "NEXT_PUBLIC_SITE"),
    ("", "REGISTRY_PASSWORD"),
)
"""Environment and name of each value of a project."""
SIGNING_KEYS = ((95, None), (185, 95))
"""Days since each was made, and since it was retired: the older one is in nobody's use."""


def fill(connection: psycopg.Connection, projects: int, as_of: datetime) -> int:
    """Write all of it for the first projects, in the caller's transaction; return how many rows there are."""
    steps = {
        "INSERT INTO jwt_keys (kid, encrypted_secret, algorithm, active, created_at, rotated_at)"
        " VALUES (%s, %s, %s, %s, %s, %s)": _signing_keys(as_of),
        "INSERT INTO secrets_metadata (project_id, environment_id, name, encrypted_metadata)"
        " VALUES (%s, %s, %s, %s)": _metadata(projects),
        "INSERT INTO maintenance.stored_secret (project_id, environment, name, key_id, nonce, sealed)"
        " VALUES (%s, %s, %s, %s, %s, %s)": _values(projects),
    }
    rows = 0
    with connection.cursor() as cursor:
        for statement, found in steps.items():
            cursor.executemany(statement, list(found))
            rows += cursor.rowcount
    return rows


def _signing_keys(as_of: datetime) -> Iterator[tuple[object, ...]]:
    for days, retired in SIGNING_KEYS:
        made, retired_at = make_key(Algorithm.ES256), as_of - timedelta(days=retired) if retired else None
        encrypted = to_column(encrypt(made.secret.encode(), KEY))
        yield made.kid, encrypted, made.algorithm, retired is None, as_of - timedelta(days=days), retired_at


def _metadata(projects: int) -> Iterator[tuple[object, ...]]:
    for number in range(1, projects + 1):
        for environment in ("dev", "staging", "prod"):
            ids = _id(f"project-{number}"), _id(f"core-{number}{environment}")
            yield *ids, "DATABASE_URL", to_column(encrypt(b'{"rotated": "yearly"}', KEY))


def _values(projects: int) -> Iterator[tuple[object, ...]]:
    key = MasterKey(KEY, "the sample's key")
    for number in range(1, projects + 1):
        for environment, name in SECRETS:
            place = (_id(f"project-{number}"), environment, name)
            value = f"made up: {name} of project {number} {environment}".encode()
            sealed = key.seal(value, row_identity("stored_secret", *place))
            yield *place, sealed.key_id, sealed.nonce, sealed.sealed


def _id(text: str) -> uuid.UUID:
    """Return the id that PostgreSQL makes of md5(text)::uuid."""
    return uuid.UUID(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
