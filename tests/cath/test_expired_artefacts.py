"""The removal of artefacts whose display has ended: archived, deleted, and their files with them."""

import uuid
from datetime import date, datetime
from pathlib import Path
from typing import Any

from cath_dagster.core.model.outcome import RunResult, Status
from tests.support.service import Service, outcome

JOB = "expired_artefacts"
BLAST_ROWS = 10_000
HOSTILE_SOURCES = (
    *("../../x.pdf", "../bystander.txt", "/bystander.txt", "a/b", "a./b", "x.tar.gz", "bystander"),
    *("x./../bystander.txt", "x./../../files/bystander.txt", "x./../bystander", "x.%2e%2e%2fbystander"),
    *("x.", ".", "..", "%", "x.pdf\n", "x.*", "x.?", "x. ", "x." + "y" * 300),
)
NAMES = ("artefact/{}", "artefact/{}.json", "artefact/{}.pdf", "publications/{}.pdf", "publications/{}.xlsx")


def add_expired(service: Service, **values: Any) -> uuid.UUID:
    return service.add_artefact(**{"display_to": service.days_ago(1), **values})


def add_files(service: Service, artefact_id: uuid.UUID, *names: str) -> list[Path]:
    """Write files of an artefact; of every name it has for certain, unless told otherwise."""
    return [service.add_file(name.format(artefact_id)) for name in names or NAMES]


def add_search(service: Service, artefact_id: uuid.UUID, count: int = 1) -> None:
    service.connection.execute(
        "INSERT INTO artefact_search (id, artefact_id, case_number)"
        " SELECT gen_random_uuid()::text, %s, 'T1' FROM generate_series(1, %s)",
        (artefact_id, count),
    )


def add_many_expired(service: Service, count: int) -> None:
    add_expired(service)
    service.connection.execute(
        "INSERT INTO artefact (artefact_id, location_id, list_type_id, content_date, sensitivity, language,"
        " display_from, display_to, is_flat_file, provenance, type)"
        " SELECT gen_random_uuid(), location_id, list_type_id, content_date, sensitivity, language,"
        " display_from, display_to, is_flat_file, provenance, type FROM artefact, generate_series(2, %s)",
        (count,),
    )


def add_queued(service: Service, path: str) -> None:
    """Queue a file as a run does that is killed before it comes to delete it."""
    service.insert("maintenance.file_outbox", job=JOB, path=path, run_id="killed")


def queued(service: Service) -> list[str]:
    return [path for (path,) in service.rows("SELECT path FROM maintenance.file_outbox ORDER BY path")]


def files_left(service: Service) -> set[str]:
    return {str(file.relative_to(service.blob_root)) for file in service.blob_root.rglob("*") if file.is_file()}


def run_into(service: Service, change: str, *parameters: object) -> RunResult:
    """Run the job into rows that another transaction has changed, and commit that once the job waits for it."""
    return service.run_beside(JOB, (change, parameters))


def test_removes_an_artefact_whose_display_ended_a_millisecond_ago(service: Service) -> None:
    service.add_artefact(display_to=service.days_ago(0, seconds=0.001))

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact").deleted == 1
    assert service.count("artefact") == 0


def test_keeps_an_artefact_whose_display_ends_at_the_reference_time(service: Service) -> None:
    service.add_artefact(display_to=service.days_ago(0))

    result = service.run(JOB)

    assert outcome(result, "artefact").matched == 0
    assert service.count("artefact") == 1
    assert service.count("maintenance.artefact_archive") == 0


def test_keeps_an_artefact_displayed_still_with_its_search_rows_and_files(service: Service) -> None:
    artefact_id = service.add_artefact(source_artefact_id="list.docx")
    add_search(service, artefact_id)
    add_files(service, artefact_id, *NAMES, "artefact/{}.docx")
    add_files(service, add_expired(service))

    service.run(JOB)

    assert service.rows("SELECT artefact_id FROM artefact") == [(artefact_id,)]
    assert service.count("artefact_search") == 1
    assert files_left(service) == {name.format(artefact_id) for name in (*NAMES, "artefact/{}.docx")}


def test_removes_an_expired_artefact_that_matches_no_location(service: Service) -> None:
    add_expired(service, no_match=True, location_id="NO-SUCH", last_received_date=service.days_ago(1))

    assert outcome(service.run(JOB), "artefact").deleted == 1


def test_removes_an_expired_no_match_artefact_of_an_existing_locations_id(service: Service) -> None:
    service.add_location(7)
    add_expired(service, no_match=True, location_id="7")

    assert outcome(service.run(JOB), "artefact").deleted == 1


def test_removes_an_artefact_without_a_source_and_one_with(service: Service) -> None:
    add_expired(service, source_artefact_id=None)
    add_expired(service, source_artefact_id="")
    add_expired(service, source_artefact_id="list.csv")

    assert outcome(service.run(JOB), "artefact").deleted == 3


def test_succeeds_on_an_empty_table(service: Service) -> None:
    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert [(outcome(result, target).matched) for target in ("artefact", "artefact_search", "files")] == [0, 0, 0]


def test_deletes_the_search_rows_of_the_artefact_and_counts_them(service: Service) -> None:
    add_search(service, add_expired(service), 3)

    result = service.run(JOB)

    assert outcome(result, "artefact_search").deleted == 3
    assert service.count("artefact_search") == 0


def test_keeps_ingestion_entries_with_a_null_reference(service: Service) -> None:
    entry = {"timestamp": service.days_ago(2), "source_system": "SNL", "court_id": "1", "status": "SUCCESS"}
    service.insert("ingestion_log", id=uuid.uuid4(), artefact_id=add_expired(service), **entry)

    service.run(JOB)

    assert service.rows("SELECT source_system, artefact_id FROM ingestion_log") == [("SNL", None)]


def test_keeps_notifications_of_the_artefact(service: Service) -> None:
    subscription_id = service.add_subscription(service.add_user())
    service.add_notification(subscription_id, publication_id=add_expired(service))

    service.run(JOB)

    assert service.count("notification_audit_log") == 1


def test_archives_the_artefacts_metadata(service: Service) -> None:
    service.add_list_type(42)
    metadata: dict[str, Any] = {
        "artefact_id": uuid.uuid4(),
        "location_id": "NO-SUCH",
        "list_type_id": 42,
        "content_date": date(2026, 11, 3),
        "sensitivity": "CLASSIFIED",
        "language": "WELSH",
        "display_from": datetime(2026, 11, 2, 10, 30, 0, 123_000),
        "display_to": datetime(2026, 11, 4),
        "last_received_date": datetime(2026, 11, 2, 9, 15),
        "is_flat_file": True,
        "provenance": "CP_CATH",
        "superseded_count": 3,
        "no_match": True,
        "type": "LIST",
    }
    service.add_artefact(**metadata, source_artefact_id="list.pdf")

    result = service.run(JOB)

    assert outcome(result, "artefact").archived == 1
    archived = service.rows(f"SELECT {', '.join(metadata)} FROM maintenance.artefact_archive")
    assert archived == [tuple(metadata.values())]


def test_archives_from_a_table_that_has_columns_of_its_own(service: Service) -> None:
    service.connection.execute("ALTER TABLE artefact ADD COLUMN of_its_own text NOT NULL DEFAULT 'value'")
    artefact_id = add_expired(service)

    assert service.run(JOB).status is Status.SUCCESS
    assert service.rows("SELECT artefact_id FROM maintenance.artefact_archive") == [(artefact_id,)]


def test_removes_an_artefact_that_the_archive_has_already(service: Service) -> None:
    artefact_id = add_expired(service)
    service.connection.execute("CREATE TABLE earlier AS TABLE artefact")
    service.run(JOB)
    service.connection.execute("INSERT INTO artefact TABLE earlier")

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact").deleted == 1
    assert service.count("artefact") == 0
    assert service.rows("SELECT artefact_id FROM maintenance.artefact_archive") == [(artefact_id,)]


def test_removes_an_artefact_that_somebody_else_archives_meanwhile(service: Service) -> None:
    add_expired(service)
    same = (
        "artefact_id, location_id, list_type_id, content_date, sensitivity, language, display_from, display_to,"
        " last_received_date, is_flat_file, provenance, superseded_count, no_match, type"
    )

    result = run_into(
        service, f"INSERT INTO maintenance.artefact_archive ({same}, archived_by) SELECT {same}, 'else' FROM artefact"
    )

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact").deleted == 1
    assert service.count("artefact") == 0
    assert service.count("maintenance.artefact_archive") == 1


def test_deletes_the_artefacts_files_of_every_name(service: Service) -> None:
    artefact_id = add_expired(service, source_artefact_id="Daily list.docx")
    add_files(service, artefact_id, *NAMES, "artefact/{}.docx")

    result = service.run(JOB)

    assert files_left(service) == set()
    assert outcome(result, "files").deleted == 6
    assert queued(service) == []


def test_a_missing_file_is_no_error(service: Service) -> None:
    add_files(service, add_expired(service), "publications/{}.pdf")

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert (outcome(result, "files").deleted, outcome(result, "files").failed) == (1, 0)
    assert queued(service) == []


def test_deletes_the_file_with_the_extension_of_its_source(service: Service) -> None:
    names = {
        "LIST.PDF": "artefact/{}.PDF",
        "x.tar.gz": "artefact/{}.gz",
        "../../x.html": "artefact/{}.html",
        "a/b.csv": "artefact/{}.csv",
        r"C:\lists\x.doc": "artefact/{}.doc",
        "Rhestr Llys Ynys Môn.xlsx": "artefact/{}.xlsx",
    }
    for source, name in names.items():
        add_files(service, add_expired(service, source_artefact_id=source), name)

    result = service.run(JOB)

    assert outcome(result, "files").deleted == len(names)
    assert files_left(service) == set()


def test_a_hostile_source_name_touches_no_other_file(service: Service) -> None:
    other_id = service.add_artefact()
    bystanders = {"artefact/x.pdf", "x.pdf", "bystander.txt", "artefact/bystander.txt", "files/bystander.txt"}
    bystanders |= {"artefact/bystander", "artefact/a/b", "artefact/b", "artefact/x.tar.gz", "artefact/x.gz"}
    bystanders |= {name.format(other_id) for name in NAMES}
    for name in bystanders:
        service.add_file(name)
    outside = [service.blob_root.parent / name for name in ("x.pdf", "bystander.txt")]
    for file in outside:
        file.write_bytes(b"content")
    for source in HOSTILE_SOURCES:
        add_files(service, add_expired(service, source_artefact_id=source))

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert files_left(service) == bystanders
    assert all(file.exists() for file in outside)


def test_keeps_files_that_only_resemble_the_artefacts(service: Service) -> None:
    artefact_id = add_expired(service, source_artefact_id="x.pdf")
    others = ("artefact/{}.pdf.bak", "publications/{}", "publications/{}_cy.pdf", "files/{}.pdf", "{}.pdf")
    add_files(service, artefact_id, *others)

    service.run(JOB)

    assert files_left(service) == {name.format(artefact_id) for name in others}


def test_a_file_that_cannot_be_deleted_fails_the_run_after_the_rest_is_done(service: Service) -> None:
    stuck_id = add_expired(service)
    add_files(service, stuck_id, *NAMES[1:])
    add_files(service, stuck_id, "artefact/{}/in-the-way")
    add_files(service, add_expired(service))

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert "1 file" in (result.error or "")
    assert (outcome(result, "files").deleted, outcome(result, "files").failed) == (9, 1)
    assert files_left(service) == {f"artefact/{stuck_id}/in-the-way"}
    assert service.count("artefact") == 0
    assert outcome(result, "artefact").archived == 2


def test_a_file_that_cannot_be_deleted_stays_queued(service: Service) -> None:
    stuck_id = add_expired(service)
    add_files(service, stuck_id, "artefact/{}/in-the-way")

    service.run(JOB)

    assert queued(service) == [f"artefact/{stuck_id}"]


def test_the_next_run_deletes_a_file_that_failed(service: Service) -> None:
    stuck_id = add_expired(service)
    (obstacle,) = add_files(service, stuck_id, "artefact/{}/in-the-way")
    service.run(JOB)
    obstacle.unlink()
    obstacle.parent.rmdir()
    add_files(service, stuck_id, "artefact/{}")

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "files").deleted == 1
    assert files_left(service) == set()
    assert queued(service) == []


def test_a_file_that_fails_again_fails_the_next_run_too_and_not_its_other_work(service: Service) -> None:
    stuck_id = add_expired(service)
    add_files(service, stuck_id, "artefact/{}/in-the-way")
    service.run(JOB)
    add_files(service, add_expired(service))

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert outcome(result, "artefact").deleted == 1
    assert (outcome(result, "files").deleted, outcome(result, "files").failed) == (5, 1)
    assert queued(service) == [f"artefact/{stuck_id}"]


def test_a_blob_store_that_is_not_there_loses_no_file(service: Service) -> None:
    artefact_id = add_expired(service)
    add_files(service, artefact_id)
    away = service.blob_root.rename(service.blob_root.with_name("away"))

    failed = service.run(JOB)
    away.rename(service.blob_root)
    result = service.run(JOB)

    assert failed.status is Status.FAILED
    assert outcome(failed, "files").failed == 5
    assert result.status is Status.SUCCESS
    assert files_left(service) == set()


def test_deletes_the_files_that_a_killed_run_has_queued(service: Service) -> None:
    add_queued(service, "artefact/one")
    add_queued(service, "publications/missing.pdf")
    service.add_file("artefact/one")

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "files").deleted == 1
    assert files_left(service) == set()
    assert queued(service) == []


def test_deletes_many_queued_files_around_one_that_fails(service: Service) -> None:
    service.connection.execute(
        "INSERT INTO maintenance.file_outbox (job, path, run_id)"
        " SELECT %s, 'artefact/' || number, 'killed' FROM generate_series(1, 1300) AS number",
        (JOB,),
    )
    service.add_file("artefact/1/in-the-way")
    for number in (2, 650, 1300):
        service.add_file(f"artefact/{number}")

    result = service.run(JOB)

    assert (outcome(result, "files").deleted, outcome(result, "files").failed) == (3, 1)
    assert queued(service) == ["artefact/1"]


def test_an_artefact_removed_again_whose_files_are_queued_still_is_no_error(service: Service) -> None:
    artefact_id = add_expired(service)
    add_queued(service, f"artefact/{artefact_id}")
    add_files(service, artefact_id)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact").deleted == 1
    assert files_left(service) == set()
    assert queued(service) == []


def test_names_the_variable_when_no_blob_store_is_configured_and_removes_nothing(service: Service) -> None:
    del service.environ["CATH_BLOB_URL"]
    add_expired(service)

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert "CATH_BLOB_URL" in (result.error or "")
    assert service.count("artefact") == 1


def test_fails_clearly_where_a_column_is_missing_and_removes_nothing(service: Service) -> None:
    add_expired(service)
    service.connection.execute("ALTER TABLE artefact DROP COLUMN source_artefact_id")

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert "source_artefact_id" in (result.error or "")
    assert service.count("artefact") == 1
    assert service.count("maintenance.artefact_archive") == 0


def test_removes_many_artefacts_in_several_batches(service: Service) -> None:
    add_many_expired(service, 150)
    service.connection.execute(
        "INSERT INTO artefact_search (id, artefact_id) SELECT artefact_id, artefact_id FROM artefact"
    )
    current_id = service.add_artefact()

    result = service.run(JOB)

    done = outcome(result, "artefact")
    assert (done.matched, done.deleted, done.archived) == (150, 150, 150)
    assert done.batches > 1
    assert outcome(result, "artefact_search").deleted == 150
    assert outcome(result, "files").matched == 750
    assert service.rows("SELECT artefact_id FROM artefact") == [(current_id,)]
    assert service.count("maintenance.artefact_archive") == 150


def test_dry_run_tells_what_the_run_then_does(service: Service) -> None:
    first_id = add_expired(service, source_artefact_id="list.docx")
    add_expired(service, source_artefact_id="list.pdf")
    add_search(service, first_id, 2)
    add_files(service, first_id)
    service.add_artefact()

    preview = service.run(JOB, dry_run=True)
    result = service.run(JOB)

    matched = {done.target: done.matched for done in preview.outcomes}
    assert matched == {"artefact": 2, "artefact_search": 2, "files": 11}
    assert {done.target: done.matched for done in result.outcomes} == matched


def test_dry_run_counts_files_that_are_queued_still(service: Service) -> None:
    add_queued(service, "artefact/one")
    service.add_file("artefact/one")

    preview = service.run(JOB, dry_run=True)

    assert outcome(preview, "files").matched == 1
    assert files_left(service) == {"artefact/one"}
    assert queued(service) == ["artefact/one"]


def test_dry_run_counts_a_file_once_that_is_queued_already(service: Service) -> None:
    add_queued(service, f"artefact/{add_expired(service)}")

    preview = service.run(JOB, dry_run=True)
    result = service.run(JOB)

    assert outcome(preview, "files").matched == outcome(result, "files").matched == 5


def test_dry_run_changes_nothing(service: Service) -> None:
    artefact_id = add_expired(service)
    add_search(service, artefact_id)
    add_files(service, artefact_id)

    preview = service.run(JOB, dry_run=True)

    assert preview.status is Status.SUCCESS
    assert service.count("artefact") == service.count("artefact_search") == 1
    assert service.count("maintenance.artefact_archive") == 0
    assert len(files_left(service)) == 5
    assert queued(service) == []
    for done in preview.outcomes:
        assert {name for name, count in done.counts().items() if count} == {"matched"}


def test_second_run_changes_nothing(service: Service) -> None:
    artefact_id = add_expired(service)
    add_search(service, artefact_id)
    add_files(service, artefact_id)
    service.run(JOB)
    archived = service.rows("SELECT * FROM maintenance.artefact_archive")

    second = service.run(JOB)

    assert second.status is Status.SUCCESS
    assert {(done.matched, done.changed) for done in second.outcomes} == {(0, 0)}
    assert service.rows("SELECT * FROM maintenance.artefact_archive") == archived


def test_keeps_an_artefact_whose_display_is_prolonged_while_its_batch_waits(service: Service) -> None:
    artefact_id = add_expired(service)
    add_files(service, artefact_id)
    add_search(service, artefact_id)
    add_expired(service)

    result = run_into(
        service, "UPDATE artefact SET display_to = %s WHERE artefact_id = %s", service.days_ago(-1), artefact_id
    )

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact").deleted == 1
    assert service.rows("SELECT artefact_id FROM artefact") == [(artefact_id,)]
    assert service.count("artefact_search") == 1
    assert len(files_left(service)) == 5
    assert service.count("maintenance.artefact_archive") == 1


def test_deletes_a_search_row_that_is_added_while_the_batch_waits(service: Service) -> None:
    artefact_id = add_expired(service)

    result = run_into(service, "INSERT INTO artefact_search (id, artefact_id) VALUES ('late', %s)", artefact_id)

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact_search").deleted == 1
    assert service.count("artefact") == service.count("artefact_search") == 0


def test_deletes_the_file_of_a_source_that_is_named_while_the_batch_waits(service: Service) -> None:
    artefact_id = add_expired(service)
    add_files(service, artefact_id, "artefact/{}.docx")

    run_into(service, "UPDATE artefact SET source_artefact_id = 'x.docx' WHERE artefact_id = %s", artefact_id)

    assert files_left(service) == set()


def test_leaves_to_somebody_else_what_he_deletes_while_the_batch_waits(service: Service) -> None:
    artefact_id = add_expired(service)
    add_expired(service)

    result = run_into(service, "DELETE FROM artefact WHERE artefact_id = %s", artefact_id)

    assert result.status is Status.SUCCESS
    assert (outcome(result, "artefact").deleted, outcome(result, "artefact").archived) == (1, 1)


def test_max_rows_leaves_whole_artefacts_to_the_next_run(service: Service) -> None:
    for _ in range(3):
        artefact_id = add_expired(service)
        add_files(service, artefact_id)

    result = service.run(JOB, max_rows=2)

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact").deleted == 2
    assert any("max_rows" in note for note in result.notes)
    (left_id,) = service.rows("SELECT artefact_id FROM artefact")[0]
    assert files_left(service) == {name.format(left_id) for name in NAMES}
    assert service.count("maintenance.artefact_archive") == 2


def test_refuses_to_remove_most_of_many_artefacts(service: Service) -> None:
    add_many_expired(service, BLAST_ROWS + 1)

    result = service.run(JOB)

    assert result.status is Status.REFUSED
    assert f"{BLAST_ROWS + 1:,}" in (result.error or "")
    assert service.count("artefact") == BLAST_ROWS + 1
    assert service.count("maintenance.artefact_archive") == 0
    assert queued(service) == []


def test_refuses_to_delete_most_of_many_search_rows(service: Service) -> None:
    add_search(service, add_expired(service), BLAST_ROWS + 1)

    result = service.run(JOB)

    assert result.status is Status.REFUSED
    assert "artefact_search" in (result.error or "")
    assert service.count("artefact") == 1


def test_deletes_most_of_many_search_rows_where_allowed(service: Service) -> None:
    add_search(service, add_expired(service), BLAST_ROWS + 1)

    result = service.run(JOB, allow_large=True)

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact_search").deleted == BLAST_ROWS + 1


def test_leaves_a_ledger_row_for_each_table(service: Service) -> None:
    add_search(service, add_expired(service), 2)

    rows = service.ledger(service.run(JOB).run_id)

    assert rows["artefact"] == (False, service.as_of, 1, 1, 1, "success")
    assert rows["artefact_search"][2:] == (2, 2, 0, "success")


def test_dry_run_leaves_ledger_rows_that_say_so(service: Service) -> None:
    add_search(service, add_expired(service), 2)

    rows = service.ledger(service.run(JOB, dry_run=True).run_id)

    assert rows["artefact"] == (True, service.as_of, 1, 0, 0, "success")
    assert (rows["artefact_search"][0], *rows["artefact_search"][2:]) == (True, 2, 0, 0, "success")


def test_a_failing_file_shows_in_the_ledger(service: Service) -> None:
    add_files(service, add_expired(service), "artefact/{}/in-the-way")

    rows = service.ledger(service.run(JOB).run_id)

    assert rows["artefact"][2:] == (1, 1, 1, "failed")


def test_the_source_files_name_is_in_no_line_and_in_no_archive(service: Service) -> None:
    artefact_id = add_expired(service, source_artefact_id="Jane Doe.pdf")
    add_files(service, artefact_id, "artefact/{}.pdf/in-the-way")

    result = service.run(JOB)

    assert result.status is Status.FAILED
    said = [*service.reporter.lines, result.error or "", str(result.as_json())]
    kept = service.rows("SELECT archived::text FROM maintenance.artefact_archive AS archived")
    assert "Jane" not in "\n".join([*said, str(kept), str(queued(service))])
