"""Read from the environment where a code location's outside is, and open it on demand."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property

import sqlalchemy as sa

from cath_dagster.adapters.blobs import open_blob_store
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.blobs import BlobStore
from cath_dagster.core.job_run import required
from cath_dagster.core.mail import Mailer

TEMPLATE = "NOTIFY_TEMPLATE_"


class EnvironmentResources:
    """The outside of one code location as its environment variables describe it."""

    def __init__(self, prefix: str, environ: Mapping[str, str] | None = None) -> None:
        self.prefix = prefix
        self.environ = os.environ if environ is None else environ

    @property
    def has_mail(self) -> bool:
        """Whether a mail provider is configured."""
        return bool(self.environ.get(f"{self.prefix}_NOTIFY_API_KEY"))

    def engine(self, application_name: str) -> sa.Engine:
        """Return an engine for the maintained database; the caller disposes of it."""
        url = required(self, "DATABASE_URL")["DATABASE_URL"]
        return open_engine(url, variable=f"{self.prefix}_DATABASE_URL", application_name=application_name)

    def blobs(self) -> BlobStore:
        return self.store("BLOB_URL")

    def reports(self) -> BlobStore:
        return self.store("REPORT_URL", made_on_demand=True)

    def mailer(self) -> Mailer:
        return self._mailer

    def store(self, name: str, *, made_on_demand: bool = False) -> BlobStore:
        """Return the blob store that a variable, named without the prefix, says."""
        return open_blob_store(
            required(self, name)[name],
            variable=f"{self.prefix}_{name}",
            environ=self.environ,
            made_on_demand=made_on_demand,
        )

    @cached_property
    def _mailer(self) -> Mailer:
        # The client brings an HTTP library with it that most runs do not need.
        from cath_dagster.adapters.notify import NoMailer, NotifyMailer, check_api_key

        key = self.environ.get(f"{self.prefix}_NOTIFY_API_KEY")
        variable = f"{self.prefix}_NOTIFY_API_KEY"
        if not key:
            return NoMailer(variable)
        check_api_key(key, variable)
        start = f"{self.prefix}_{TEMPLATE}"
        templates = {
            name.removeprefix(start).lower(): value for name, value in self.environ.items() if name.startswith(start)
        }
        base_url = self.environ.get(f"{self.prefix}_NOTIFY_BASE_URL") or "https://api.notifications.service.gov.uk"
        return NotifyMailer(api_key=key, base_url=base_url, templates=templates, now=lambda: datetime.now(UTC))
