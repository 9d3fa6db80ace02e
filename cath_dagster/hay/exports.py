"""Which exports of personal data have run out, and which files in their folder nobody may have any more."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.dialects.postgresql import ARRAY, array

from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.ports.blobs import BlobStore
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.hay.stamps import as_text, is_before, is_readable
from cath_dagster.hay.tables import privacy_requests

SECRETS = ("exportUrl", "downloadToken")
"""In a request's metadata, what gives the file away."""
EXPIRES, DELETED = "exportExpiresAt", "exportDeletedAt"
DOWNLOADED_FOR = timedelta(hours=24)
NAMES = ("customer-export-{}.zip", "export-{}.json", "customer-export-{}.json")
"""How the service names an export's file, and how earlier versions of it did; of users as of customers."""
_ID = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_NAME = re.compile("|".join(re.escape(name).replace(r"\{\}", _ID) for name in NAMES))


class CleanupExpiredPrivacyExportsSettings(JobSettings):
    """For how long exports and their files are kept that do not say it themselves."""

    retention_days: int = Field(
        default=7,
        ge=1,
        le=3_650,
        description="Days after its completion for which an export is kept that does not say, readably, when it ends.",
    )
    orphan_days: int = Field(
        default=7,
        ge=1,
        le=3_650,
        description="Days after it was written for which a file is kept of which no valid export knows.",
    )


@dataclass(frozen=True)
class Folder:
    """The exports' folder as it was listed: only what bears one of their names."""

    files: Mapping[str, tuple[UUID, datetime]]
    """By path, the request that a file is of, and when it was written."""

    @classmethod
    def read(cls, store: BlobStore) -> "Folder":
        """List the folder; raises `BlobStoreError`. What has another name, or lies deeper, is none of ours."""
        files = {
            listed.path: (found, listed.modified_at)
            for listed in store.list_files("")
            if (found := request_of(listed.path))
        }
        return cls(files)

    def of(self, ids: Iterable[UUID]) -> list[str]:
        """Return the files of these requests that are there."""
        wanted = set(ids)
        return sorted(path for path, (request, _) in self.files.items() if request in wanted)

    def orphans(self, valid: Iterable[UUID], before: datetime) -> list[str]:
        """Return the files written before an instant, of requests that are not among the valid ones."""
        kept = set(valid)
        return sorted(
            path for path, (request, written_at) in self.files.items() if request not in kept and written_at < before
        )


def request_of(path: str) -> UUID | None:
    """Return the request whose export has this name, None for any other name."""
    found = _NAME.fullmatch(path)
    return UUID(next(filter(None, found.groups()))) if found else None


def is_export() -> sa.ColumnElement[bool]:
    return sa.and_(privacy_requests.c.type == "export", privacy_requests.c.status == "completed")


def has_run_out(as_of: datetime, settings: CleanupExpiredPrivacyExportsSettings) -> sa.ColumnElement[bool]:
    """Return whether an export's time is over: by its own word, by its downloads, or where it says nothing by its age."""
    c = privacy_requests.c
    expires = c.metadata.op("->>")(EXPIRES)
    says_nothing = sa.not_(sa.func.coalesce(is_readable(expires), sa.false()))
    rules = (
        is_before(expires, as_of),
        sa.and_(c.download_count >= c.max_downloads, c.downloaded_at < as_of - DOWNLOADED_FOR),
        sa.and_(says_nothing, c.completed_at < as_of - timedelta(days=settings.retention_days)),
    )
    return sa.or_(*(sa.func.coalesce(rule, sa.false()) for rule in rules))


def is_due(as_of: datetime, settings: CleanupExpiredPrivacyExportsSettings) -> sa.ColumnElement[bool]:
    """Return whether an export has run out, and its row gives it away still."""
    gives_away = sa.func.coalesce(privacy_requests.c.metadata.has_any(array(SECRETS)), sa.false())
    is_object = sa.func.jsonb_typeof(privacy_requests.c.metadata) == "object"
    return sa.and_(is_export(), is_object, gives_away, has_run_out(as_of, settings))


def is_valid(as_of: datetime, settings: CleanupExpiredPrivacyExportsSettings) -> sa.ColumnElement[bool]:
    """Return whether somebody may download an export still, or it is being made."""
    c = privacy_requests.c
    is_being_made = sa.and_(c.type == "export", c.status.in_(("verified", "processing")))
    was_deleted = sa.func.coalesce(c.metadata.has_key(DELETED), sa.false())
    return sa.or_(is_being_made, sa.and_(is_export(), ~was_deleted, ~has_run_out(as_of, settings)))


def without_secrets(as_of: datetime) -> dict[str, sa.ColumnElement[Any]]:
    """Return what is written into a request: it is completed as before, and says when its export went."""
    metadata: sa.ColumnElement[Any] = privacy_requests.c.metadata
    for name in SECRETS:
        metadata = metadata.op("-")(sa.literal(name, sa.Text))
    marker = sa.func.jsonb_build_object(DELETED, as_text(as_of))
    return {"metadata": metadata.op("||")(marker), "updated_at": sa.func.now()}


def find_valid(
    connection: sa.Connection, folder: Folder, as_of: datetime, settings: CleanupExpiredPrivacyExportsSettings
) -> Sequence[UUID]:
    """Return which of the requests that have files here are valid still."""
    ids = sorted({request for request, _ in folder.files.values()})
    query = sa.select(privacy_requests.c.id).where(is_any(privacy_requests.c.id, ids), is_valid(as_of, settings))
    return connection.scalars(query).all()


def files_of(ids: Sequence[UUID]) -> sa.Select[tuple[str, str]]:
    """Return each name that the file of a request may have, with the request's key."""
    return _select((str(each), name.format(each)) for each in ids for name in NAMES)


def named(paths: Sequence[str]) -> sa.Select[tuple[str, str]]:
    """Return files of which no row knows, each as its own key."""
    return _select((path, path) for path in paths)


def _select(pairs: Iterable[tuple[str, str]]) -> sa.Select[tuple[str, str]]:
    together = list(pairs)
    keys, paths = [key for key, _ in together], [path for _, path in together]
    rows = sa.func.unnest(sa.literal(keys, ARRAY(sa.Text)), sa.literal(paths, ARRAY(sa.Text)))
    files = rows.table_valued("key", "path", name="files").render_derived()
    return sa.select(files.c.key, files.c.path)
