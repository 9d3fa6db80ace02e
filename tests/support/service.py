"""CaTH as a test sees it: small builders for its rows, and a way to run its jobs."""

import contextlib
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from cath_dagster.cath import CATH
from cath_dagster.cath.messages import TEMPLATES
from cath_dagster.development.simulators.notify import NotifySimulator
from tests.support.maintained import Maintained, SilentReporter, outcome

__all__ = ["Service", "SilentReporter", "outcome"]

_numbers = itertools.count(1)


@dataclass(kw_only=True)
class Service(Maintained):
    """A CaTH of its own."""

    location = CATH

    blob_root: Path
    report_root: Path
    notify: NotifySimulator

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
            yield cls(
                url=url,
                environ=environ,
                blob_root=blob_root,
                report_root=report_root,
                connection=connection,
                as_of=as_of,
                notify=notify,
            )

    def days_ago(self, days: float, *, seconds: float = 0) -> datetime:
        """Return an instant so long before `as_of`, as the service's naive columns hold it."""
        return (self.as_of - timedelta(days=days, seconds=seconds)).replace(tzinfo=None)

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
