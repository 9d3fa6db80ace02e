"""Rows that jobs of CaTH delete and may bring back."""

import uuid
from typing import Any

from tests.support.service import Service

TABLES = (
    "subscription",
    "notification_audit_log",
    "subscription_list_type",
    "artefact",
    "artefact_search",
    "ingestion_log",
)


def add_orphan(service: Service, **values: Any) -> uuid.UUID:
    """Add a subscription to a location that does not exist, with two notifications."""
    user_id = values.pop("user_id", None) or service.add_user()
    row = {"search_type": "LOCATION_ID", "search_value": "99", "case_name": "R v 'Ō'Neill\"\n"}
    subscription_id = service.add_subscription(user_id, **{**row, **values})
    for _ in range(2):
        service.add_notification(subscription_id, error_message="", sent_at=service.days_ago(3))
    return subscription_id


def add_unmatched(service: Service, **values: Any) -> uuid.UUID:
    """Add a no-match artefact that is due, with search rows, an ingestion entry and a file."""
    row = {
        "location_id": "X",
        "no_match": True,
        "last_received_date": service.days_ago(8),
        "source_artefact_id": "a.csv",
    }
    artefact_id = service.add_artefact(**{**row, **values})
    for number in range(2):
        service.insert("artefact_search", id=f"{artefact_id} {number}", artefact_id=artefact_id, case_name="A v B")
    service.insert(
        "ingestion_log", id=uuid.uuid4(), source_system="SNL", court_id="1", status="SUCCESS", artefact_id=artefact_id,
        timestamp=service.days_ago(8),
    )  # fmt: skip
    service.add_file(f"artefact/{artefact_id}.json", b"the list")
    return artefact_id


def archives(service: Service) -> int:
    return service.count("maintenance.archived_rows")
