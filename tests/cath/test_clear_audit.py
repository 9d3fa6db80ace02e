"""The purge of audit rows past their retention period."""

import uuid

from tests.service import Service, outcome


def test_deletes_an_entry_older_than_ninety_days(service: Service) -> None:
    service.insert("ingestion_log", id=uuid.uuid4(), timestamp=service.days_ago(90, seconds=1), source_system="SNL", court_id="1", status="SUCCESS")

    result = service.run("clear_audit")

    assert outcome(result, "ingestion_log").deleted == 1
    assert service.count("ingestion_log") == 0
