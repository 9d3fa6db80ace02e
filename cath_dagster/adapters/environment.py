"""Read from the environment, or from files that it names, where a code location's outside is, and open it on demand."""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property

import sqlalchemy as sa

from cath_dagster.adapters.blobs import open_blob_store
from cath_dagster.adapters.mounted import SUFFIX, MountedEnvironment
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.ports.blobs import BlobStore
from cath_dagster.core.ports.mail import Delivery, Mailer, Message, Receipt
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.backends import required

TEMPLATE = "NOTIFY_TEMPLATE_"
SMTP_URL, NOTIFY_API_KEY = "SMTP_URL", "NOTIFY_API_KEY"
PROVIDERS = (SMTP_URL, NOTIFY_API_KEY)
"""The variables, without the prefix, either of which says how mail goes."""


def open_backends(location: CodeLocation, instance: object = None) -> "EnvironmentBackends":
    """Return the outside of a location; `instance` is the orchestrator that runs its job, if one does."""
    if location.backends:
        opened: EnvironmentBackends = importlib.import_module(location.backends).open_backends(instance)
        return opened
    return EnvironmentBackends(location.prefix)


class EnvironmentBackends:
    """The outside of one code location as its environment variables describe it."""

    def __init__(self, prefix: str, environ: Mapping[str, str] | None = None) -> None:
        self.prefix = prefix
        self.environ: Mapping[str, str] = MountedEnvironment(environ)

    @property
    def is_configured(self) -> bool:
        """Whether anybody has said where the database is."""
        return bool(self._get("DATABASE_URL"))

    @property
    def has_mail(self) -> bool:
        """Whether a mail provider is configured."""
        return any(self._get(name) for name in PROVIDERS)

    def mail_variables(self, template: str) -> tuple[str, ...]:
        """Return the variables that a message of ours needs beside its provider's, named without the prefix."""
        if self._get(SMTP_URL):
            return ("MAIL_FROM",)
        return (f"{TEMPLATE}{template.upper()}",) if self._get(NOTIFY_API_KEY) else ()

    def prepare(self) -> None:
        """Do what a run under the orchestrator may rely on; a service's database is prepared by `migrate` alone."""

    @contextmanager
    def database(self, purpose: str) -> Iterator[Database]:
        """Yield the maintained database; other sessions see the purpose as `application_name`."""
        with self.disposed_engine(purpose) as engine, Database(engine) as database:
            yield database

    @contextmanager
    def disposed_engine(self, purpose: str) -> Iterator[sa.Engine]:
        """Yield an engine for the maintained database, for what needs connections of its own; it is disposed of."""
        engine = self.engine(purpose)
        try:
            yield engine
        finally:
            engine.dispose()

    def engine(self, application_name: str) -> sa.Engine:
        """Return an engine for the maintained database; the caller disposes of it."""
        url = required(self, "DATABASE_URL")["DATABASE_URL"]
        return open_engine(url, variable=f"{self.prefix}_DATABASE_URL", application_name=application_name)

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
        # The clients bring libraries with them that most runs do not need.
        if all(self._get(name) for name in PROVIDERS):
            variables = " and ".join(f"{self.prefix}_{name}" for name in PROVIDERS)
            raise ConfigurationError(f"{variables} are both set; unset the one by which mail shall not go")
        if self._get(SMTP_URL):
            return self._smtp()
        return self._notify() if self._get(NOTIFY_API_KEY) else NoMailer(self.prefix)

    def _smtp(self) -> Mailer:
        from cath_dagster.adapters.smtp import SmtpMailer, parse_sender, parse_url

        given = required(self, SMTP_URL, "MAIL_FROM")
        return SmtpMailer(
            parse_url(given[SMTP_URL], f"{self.prefix}_{SMTP_URL}"),
            sender=parse_sender(given["MAIL_FROM"], f"{self.prefix}_MAIL_FROM"),
            now=lambda: datetime.now(UTC),
        )

    def _notify(self) -> Mailer:
        from cath_dagster.adapters.notify import NotifyMailer, check_api_key

        key = required(self, NOTIFY_API_KEY)[NOTIFY_API_KEY]
        check_api_key(key, f"{self.prefix}_{NOTIFY_API_KEY}")
        start = f"{self.prefix}_{TEMPLATE}"
        names = [name for name in self.environ if name.startswith(start) and not name.endswith(SUFFIX)]
        templates = {name.removeprefix(start).lower(): self.environ[name] for name in names}
        base_url = self._get("NOTIFY_BASE_URL") or "https://api.notifications.service.gov.uk"
        return NotifyMailer(api_key=key, base_url=base_url, templates=templates, now=lambda: datetime.now(UTC))

    def _get(self, name: str) -> str | None:
        return self.environ.get(f"{self.prefix}_{name}")


class NoMailer:
    """Where no provider is configured: messages are rendered and go nowhere."""

    attachment_limit = sys.maxsize

    def __init__(self, prefix: str) -> None:
        """Name the variables of the location with this prefix in what is said."""
        self._says = f"neither {prefix}_SMTP_URL nor {prefix}_NOTIFY_API_KEY is set"

    def send(self, message: Message) -> Receipt:
        """Send nothing."""
        del message
        return Receipt(Delivery.UNDELIVERED, error=self._says)

    def find(self, reference: str) -> Receipt | None:
        """Find nothing: nothing was sent."""
        del reference
        return None

    def check(self) -> None:
        """There is nothing to check."""

    def close(self) -> None:
        """There is nothing to close."""
