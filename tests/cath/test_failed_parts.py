"""What a failure of one part of a run leaves to the others: all that is due."""

import uuid
from typing import LiteralString

import pytest

from cath_dagster.core.model.outcome import Status
from tests.support.service import Service, outcome

FAILS = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '54000'; END $$
"""


def let_fail(service: Service, table: LiteralString, event: LiteralString) -> None:
    service.connection.execute(FAILS)
    service.connection.execute(f"CREATE TRIGGER t BEFORE {event} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION fail()")


def queue(service: Service, job: str) -> str:
    """Leave a file in the queue, as a run does that was killed after it had deleted the file's row."""
    path = f"files/{uuid.uuid4()}.pdf"
    service.add_file(path)
    service.insert("maintenance.file_outbox", job=job, run_id="killed", path=path, table_name="gone", row_key="1")
    return path


@pytest.mark.parametrize("job", ["expired_artefacts", "no_match_artefacts"])
def test_a_purge_that_fails_does_not_keep_the_files_of_rows_that_are_gone(service: Service, job: str) -> None:
    service.add_artefact(
        display_to=service.days_ago(1), no_match=True, location_id="x", last_received_date=service.days_ago(9)
    )
    path = queue(service, job)
    let_fail(service, "maintenance.artefact_archive", "INSERT")

    result = service.run(job)

    assert result.status is Status.FAILED
    assert "54000" in str(result.error)
    assert service.count("artefact") == 1
    assert (service.count("maintenance.file_outbox"), (service.blob_root / path).exists()) == (0, False)
    assert outcome(result, "files").deleted == 1


def test_a_count_that_fails_after_the_purge_does_not_keep_the_files(service: Service) -> None:
    path = queue(service, "no_match_artefacts")
    service.connection.execute(
        "ALTER TABLE location RENAME TO courts;"
        "CREATE FUNCTION fail() RETURNS integer LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '54000'; END $$;"
        "CREATE VIEW location AS SELECT coalesce(fail(), location_id) AS location_id, deleted_at FROM courts"
    )
    service.add_artefact(no_match=True, location_id="1", last_received_date=service.days_ago(9))
    service.connection.execute("INSERT INTO courts (location_id, name, welsh_name) VALUES (1, 'a', 'b')")

    result = service.run("no_match_artefacts")

    assert result.status is Status.FAILED
    assert (service.count("maintenance.file_outbox"), (service.blob_root / path).exists()) == (0, False)


def test_one_table_that_cannot_be_purged_does_not_keep_the_others(service: Service) -> None:
    service.add_notification(service.add_subscription(service.add_user()), created_at=service.days_ago(91))
    row = {"source_system": "SNL", "court_id": "1", "status": "SUCCESS"}
    service.insert("ingestion_log", id=uuid.uuid4(), timestamp=service.days_ago(91), **row)
    let_fail(service, "notification_audit_log", "DELETE")

    result = service.run("clear_audit")

    assert result.status is Status.FAILED
    assert "notification_audit_log is due and left undone" in str(result.error)
    assert (service.count("notification_audit_log"), service.count("ingestion_log")) == (1, 0)


def test_a_report_store_that_fails_does_not_keep_files_in_the_other_store(service: Service) -> None:
    path = queue(service, "media_reporting")
    service.add_application()
    service.report_root.rmdir()
    service.report_root.write_text("no folder")

    result = service.run("media_reporting", delete_reported=True)

    assert result.status is Status.FAILED
    assert (service.count("maintenance.file_outbox"), (service.blob_root / path).exists()) == (0, False)


def test_a_run_that_is_refused_deletes_no_file(service: Service) -> None:
    path = queue(service, "expired_artefacts")
    service.connection.execute("SELECT pg_advisory_lock(hashtextextended('cath/expired_artefacts', 0))")

    result = service.run("expired_artefacts")

    assert result.status is Status.REFUSED
    assert (service.count("maintenance.file_outbox"), (service.blob_root / path).exists()) == (1, True)
