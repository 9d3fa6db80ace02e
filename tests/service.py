"""CaTH as a test sees it: small builders for its rows, and a way to run its jobs."""

import contextlib
import itertools
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from cath_dagster.adapters.environment import EnvironmentResources
from cath_dagster.cath import LOCATION
from cath_dagster.cath.messages import TEMPLATES
from cath_dagster.core.execution import execute, summary
from cath_dagster.core.outcome import Outcome, RunResult
from cath_dagster.core.spec import load_specs
from cath_dagster.development.notify import NotifySimulator

Change = tuple[str, Sequence[Any]]
"""A statement and its parameters."""

_numbers = itertools.count(1)


class SilentReporter:
    """Keeps what a run said, and shows nothing."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    def warning(self, message: str) -> None:
        self.lines.append(message)

    def progress(self, target: str, done: int, total: int) -> None:
        pass

    def ended(self, result: RunResult) -> None:
        self.lines.append(summary(result))


@dataclass
class Service:
    """A CaTH of its own: `environ` is what its jobs see, `as_of` what they take for now unless told otherwise."""

    url: str
    environ: dict[str, str]
    blob_root: Path
    report_root: Path
    connection: psycopg.Connection[Any]
    as_of: datetime
    notify: NotifySimulator
    reporter: SilentReporter = field(default_factory=SilentReporter)

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: str, notify: NotifySimulator, folder: Path, *, as_of: datetime) -> Iterator["Service"]:
        blob_root, report_root = folder / "blobs", folder / "reports"
        blob_root.mkdir()
        report_root.mkdir()
        environ = {
            "CATH_DATABASE_URL": url,
            "CATH_BLOB_URL": blob_root.as_uri(),
            "CATH_REPORT_URL": report_root.as_uri(),
            "CATH_NOTIFY_API_KEY": notify.api_key,
            "CATH_NOTIFY_BASE_URL": notify.base_url,
            "CATH_TEAM_EMAIL": "team@example.org",
            "CATH_CFT_SIGN_IN_LINK": "https://cath.example.org/cft-login",
            "CATH_CRIME_SIGN_IN_LINK": "https://cath.example.org/crime-login",
            "CATH_MEDIA_VERIFICATION_LINK": "https://cath.example.org/media-verification",
            "CATH_ENV_NAME": "stg",
            **{f"CATH_NOTIFY_TEMPLATE_{name.upper()}": str(uuid.uuid4()) for name in TEMPLATES},
        }
        with psycopg.connect(url, autocommit=True, row_factory=tuple_row) as connection:
            connection.execute("SET timezone = 'UTC'")
            yield cls(url, environ, blob_root, report_root, connection, as_of, notify)

    def run(
        self,
        job: str,
        *,
        partition: str | None = None,
        run_id: str | None = None,
        is_scheduled: bool = False,
        **config: Any,
    ) -> RunResult:
        """Run a job in this process, as of `self.as_of` unless the config says otherwise."""
        spec = next(spec for spec in load_specs(LOCATION) if spec.name == job)
        return execute(
            spec,
            {"as_of": self.as_of, **config},
            run_id=run_id or str(uuid.uuid4()),
            now=datetime.now(UTC) + timedelta(days=3_650),
            resources=EnvironmentResources("CATH", self.environ),
            reporter=self.reporter,
            partition=partition,
            is_scheduled=is_scheduled,
        )

    def run_beside(self, job: str, *changes: Change, then: Sequence[Change] = ()) -> RunResult:
        """Run a job into rows that another transaction has changed or locked.

        Once the job waits for it, that transaction does what comes `then`, and commits.
        """
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with ThreadPoolExecutor(1) as pool, psycopg.connect(self.url) as other:
            for statement, parameters in changes:
                other.execute(statement, parameters)
            running = pool.submit(self.run, job)
            deadline = time.monotonic() + 10
            while not self.value(waits):
                assert not running.done(), "the run never waited for the lock"
                assert time.monotonic() < deadline, "the run never came to the lock"
                time.sleep(0.005)
            for statement, parameters in then:
                other.execute(statement, parameters)
            other.commit()
            return running.result(timeout=30)

    def ledger(self, run_id: str) -> dict[str, tuple[Any, ...]]:
        """Return by table what the ledger says of a run: dry_run, cutoff, matched, deleted, archived and outcome."""
        rows = self.rows(
            "SELECT table_name, dry_run, cutoff, matched, deleted, archived, outcome"
            " FROM maintenance.purge_ledger WHERE run_id = %s",
            run_id,
        )
        return {row[0]: row[1:] for row in rows}

    def days_ago(self, days: float, *, seconds: float = 0) -> datetime:
        """Return an instant so long before `as_of`, as the service's naive columns hold it."""
        return (self.as_of - timedelta(days=days, seconds=seconds)).replace(tzinfo=None)

    def count(self, table: str, condition: str = "true") -> int:
        """Return how many rows a table has; `table` as SQL writes it."""
        return int(self.value(f"SELECT count(*) FROM {table} WHERE {condition}"))

    def value(self, query: str, *parameters: Any) -> Any:
        row = self.connection.execute(query, parameters or None).fetchone()
        assert row is not None
        return row[0]

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, parameters or None).fetchall()

    def insert(self, table: str, **values: Any) -> Any:
        """Insert one row and return its first given value."""
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(*table.split(".")),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() for _ in values),
        )
        self.connection.execute(statement, list(values.values()))
        return next(iter(values.values()))

    def add_user(self, provenance: str = "CFT_IDAM", **values: Any) -> uuid.UUID:
        """Add a user who signed in at `as_of`, unless told otherwise."""
        number = next(_numbers)
        row = {
            "user_id": uuid.uuid4(),
            "email": f"user{number}@example.com",
            "first_name": "First",
            "surname": f"Last{number}",
            "user_provenance": provenance,
            "user_provenance_id": f"{provenance}:{number}",
            "role": "SYSTEM_ADMIN" if provenance == "SSO" else "VERIFIED",
            "created_date": self.days_ago(900),
            "last_signed_in_date": self.days_ago(0),
        }
        user_id: uuid.UUID = self.insert("user", **{**row, **values})
        return user_id

    def add_subscription(self, user_id: uuid.UUID, **values: Any) -> uuid.UUID:
        """Add a CASE_NUMBER subscription unless told otherwise."""
        row = {
            "subscription_id": uuid.uuid4(),
            "user_id": user_id,
            "search_type": "CASE_NUMBER",
            "search_value": f"CASE-{next(_numbers)}",
            "date_added": self.days_ago(100),
        }
        subscription_id: uuid.UUID = self.insert("subscription", **{**row, **values})
        return subscription_id

    def add_notification(self, subscription_id: uuid.UUID, **values: Any) -> uuid.UUID:
        user_id = self.value("SELECT user_id FROM subscription WHERE subscription_id = %s", subscription_id)
        row = {
            "notification_id": uuid.uuid4(),
            "subscription_id": subscription_id,
            "user_id": user_id,
            "publication_id": uuid.uuid4(),
            "status": "Sent",
            "created_at": self.days_ago(1),
        }
        notification_id: uuid.UUID = self.insert("notification_audit_log", **{**row, **values})
        return notification_id

    def add_location(self, location_id: int, **values: Any) -> int:
        row = {"location_id": location_id, "name": f"Court {location_id}", "welsh_name": f"Llys {location_id}"}
        self.insert("location", **{**row, **values})
        return location_id

    def add_list_type(self, list_type_id: int, **values: Any) -> int:
        row = {
            "id": list_type_id,
            "name": f"LIST_{list_type_id}",
            "allowed_provenance": "MANUAL_UPLOAD",
            "updated_at": self.days_ago(500),
        }
        self.insert("list_types", **{**row, **values})
        return list_type_id

    def add_artefact(self, **values: Any) -> uuid.UUID:
        """Add a list on display until tomorrow at an existing location's id, unless told otherwise."""
        if not self.count("list_types", "id = 1"):
            self.add_list_type(1)
        row = {
            "artefact_id": uuid.uuid4(),
            "location_id": "1",
            "list_type_id": 1,
            "content_date": self.days_ago(1).date(),
            "sensitivity": "PUBLIC",
            "language": "ENGLISH",
            "display_from": self.days_ago(2),
            "display_to": self.days_ago(-1),
            "last_received_date": self.days_ago(2),
            "is_flat_file": False,
            "provenance": "SNL",
            "superseded_count": 0,
            "no_match": False,
            "type": "LIST",
        }
        artefact_id: uuid.UUID = self.insert("artefact", **{**row, **values})
        return artefact_id

    def add_file(self, path: str, content: bytes = b"content") -> Path:
        """Write a file into the blob store; the first segment of the path is the container."""
        file = self.blob_root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def add_application(self, **values: Any) -> uuid.UUID:
        number = next(_numbers)
        row = {
            "id": uuid.uuid4(),
            "name": f"Applicant {number}",
            "email": f"applicant{number}@example.com",
            "employer": "Example Press",
            "status": "APPROVED",
            "applied_date": self.days_ago(7),
        }
        application_id: uuid.UUID = self.insert("media_application", **{**row, **values})
        return application_id


def outcome(result: RunResult, target: str) -> Outcome:
    """Return what a run did to one target."""
    found = [outcome for outcome in result.outcomes if outcome.target == target]
    assert len(found) == 1, f"{target} in {[item.target for item in result.outcomes]}"
    return found[0]
