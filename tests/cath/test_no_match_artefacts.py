"""The report of artefacts that match no location, and the removal of those that waited too long."""

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cath_dagster.core.model.outcome import RunResult, Status
from tests.support.service import Service, outcome

JOB = "no_match_artefacts"
BLAST_ROWS = 10_000
SEVENS = ("7", "007", " 7 ")
NAMES = ("artefact/{}", "artefact/{}.json", "artefact/{}.pdf", "publications/{}.pdf", "publications/{}.xlsx")
DAY = timedelta(days=1)


def add_unmatched(service: Service, *, days: float = 8, seconds: float = 0, **values: Any) -> uuid.UUID:
    """Add a no-match artefact received so long ago, displayed still."""
    received = service.days_ago(days, seconds=seconds)
    row = {"location_id": "NO-SUCH", "no_match": True, "last_received_date": received}
    return service.add_artefact(**{**row, **values})


def add_many_unmatched(service: Service, count: int) -> None:
    add_unmatched(service)
    service.connection.execute(
        "INSERT INTO artefact (artefact_id, location_id, list_type_id, content_date, sensitivity, language,"
        " display_from, display_to, last_received_date, is_flat_file, provenance, no_match, type)"
        " SELECT gen_random_uuid(), location_id, list_type_id, content_date, sensitivity, language,"
        " display_from, display_to, last_received_date, is_flat_file, provenance, no_match, type"
        " FROM artefact, generate_series(2, %s)",
        (count,),
    )


def add_files(service: Service, artefact_id: uuid.UUID, *names: str) -> list[Path]:
    """Write files of an artefact; of every name it has for certain, unless told otherwise."""
    return [service.add_file(name.format(artefact_id)) for name in names or NAMES]


def queued(service: Service) -> list[str]:
    return [path for (path,) in service.rows("SELECT path FROM maintenance.file_outbox ORDER BY path")]


def files_left(service: Service) -> set[str]:
    return {str(file.relative_to(service.blob_root)) for file in service.blob_root.rglob("*") if file.is_file()}


def left(service: Service) -> set[uuid.UUID]:
    return {artefact_id for (artefact_id,) in service.rows("SELECT artefact_id FROM artefact")}


def reported(service: Service, mail: int = 0) -> list[str]:
    """Return the lines of a report that was sent."""
    lines = service.notify.sent[mail].personalisation["array_of_ids"]
    assert isinstance(lines, list)
    return lines


def run_into(service: Service, artefact_id: uuid.UUID, change: str, *parameters: object) -> RunResult:
    """Run the job into a row that another transaction holds; its change is committed once the job waits for it."""
    hold = ("SELECT FROM artefact WHERE artefact_id = %s FOR UPDATE", (artefact_id,))
    return service.run_beside(JOB, hold, then=[(change, parameters)])


# What is removed


def test_removes_an_artefact_received_more_than_seven_days_ago(service: Service) -> None:
    add_unmatched(service, days=7, seconds=0.001)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert (outcome(result, "artefact").deleted, outcome(result, "artefact").archived) == (1, 1)
    assert left(service) == set()


def test_keeps_an_artefact_received_exactly_seven_days_ago(service: Service) -> None:
    artefact_id = add_unmatched(service, days=7)

    result = service.run(JOB)

    assert outcome(result, "artefact").matched == 0
    assert left(service) == {artefact_id}


def test_keeps_an_artefact_that_matches_however_old(service: Service) -> None:
    artefact_id = add_unmatched(service, days=300, no_match=False)

    service.run(JOB)

    assert left(service) == {artefact_id}


def test_leaves_an_expired_artefact_received_lately(service: Service) -> None:
    artefact_id = add_unmatched(service, days=1, display_to=service.days_ago(0.5))

    service.run(JOB)

    assert left(service) == {artefact_id}


def test_keeps_artefacts_for_the_days_the_run_says(service: Service) -> None:
    add_unmatched(service, days=4)

    assert outcome(service.run(JOB, retention_days=3), "artefact").deleted == 1


def test_takes_the_retention_period_from_the_environment(service: Service) -> None:
    service.environ["CATH_NO_MATCH_ARTEFACTS_RETENTION_DAYS"] = "3"
    add_unmatched(service, days=4)

    assert outcome(service.run(JOB), "artefact").deleted == 1


def test_succeeds_on_an_empty_table_and_sends_nothing(service: Service) -> None:
    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact").matched == 0
    assert service.notify.sent == []


def test_archives_what_it_removes(service: Service) -> None:
    artefact_id = add_unmatched(service, location_id="X12", provenance="PDDA", superseded_count=2)

    service.run(JOB)

    archived = service.rows(
        "SELECT artefact_id, location_id, provenance, superseded_count, no_match FROM maintenance.artefact_archive"
    )
    assert archived == [(artefact_id, "X12", "PDDA", 2, True)]


def test_removes_an_artefact_that_the_archive_has_already(service: Service) -> None:
    add_unmatched(service)
    service.connection.execute("CREATE TABLE earlier AS TABLE artefact")
    service.run(JOB)
    service.connection.execute("INSERT INTO artefact TABLE earlier")

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact").deleted == 1
    assert service.count("maintenance.artefact_archive") == 1


def test_deletes_search_rows_and_keeps_ingestion_entries(service: Service) -> None:
    artefact_id = add_unmatched(service)
    service.insert("artefact_search", id="one", artefact_id=artefact_id)
    entry = {"timestamp": service.days_ago(8), "source_system": "SNL", "court_id": "1", "status": "SUCCESS"}
    service.insert("ingestion_log", id=uuid.uuid4(), artefact_id=artefact_id, **entry)

    result = service.run(JOB)

    assert outcome(result, "artefact_search").deleted == 1
    assert service.count("artefact_search") == 0
    assert service.rows("SELECT source_system, artefact_id FROM ingestion_log") == [("SNL", None)]


def test_removes_many_artefacts_in_several_batches(service: Service) -> None:
    add_many_unmatched(service, 150)

    result = service.run(JOB)

    done = outcome(result, "artefact")
    assert (done.matched, done.deleted, done.archived) == (150, 150, 150)
    assert done.batches > 1
    assert left(service) == set()
    assert len(reported(service)) == 150


# Files


def test_deletes_the_artefacts_files_of_every_name(service: Service) -> None:
    artefact_id = add_unmatched(service, source_artefact_id="list.docx")
    add_files(service, artefact_id, *NAMES, "artefact/{}.docx")

    result = service.run(JOB, undo_days=0)

    assert outcome(result, "files").deleted == 6
    assert files_left(service) == set()
    assert queued(service) == []


def test_keeps_the_files_of_artefacts_that_stay(service: Service) -> None:
    ids = [add_unmatched(service, days=1), service.add_artefact()]
    for artefact_id in ids:
        add_files(service, artefact_id)
    add_unmatched(service)

    service.run(JOB, undo_days=0)

    assert files_left(service) == {name.format(artefact_id) for artefact_id in ids for name in NAMES}


def test_a_missing_file_is_no_error(service: Service) -> None:
    add_unmatched(service)

    result = service.run(JOB, undo_days=0)

    assert result.status is Status.SUCCESS
    assert outcome(result, "files").failed == 0
    assert queued(service) == []


def test_a_hostile_source_name_touches_no_other_file(service: Service) -> None:
    bystanders = {"x.pdf", "bystander.txt", "artefact/x.pdf", "artefact/bystander", "artefact/a/b", "artefact/x.tar.gz"}
    for name in bystanders:
        service.add_file(name)
    outside = service.blob_root.parent / "x.pdf"
    outside.write_bytes(b"content")
    for source in ("../../x.pdf", "../bystander.txt", "a/b", "bystander", "x.tar.gz"):
        add_unmatched(service, source_artefact_id=source)

    assert service.run(JOB, undo_days=0).status is Status.SUCCESS
    assert files_left(service) == bystanders
    assert outside.exists()


def test_a_file_that_cannot_be_deleted_fails_the_run_after_the_rest_is_done(service: Service) -> None:
    stuck_id = add_unmatched(service)
    add_files(service, stuck_id, *NAMES[1:], "artefact/{}/in-the-way")
    add_files(service, add_unmatched(service))

    result = service.run(JOB, undo_days=0)

    assert result.status is Status.FAILED
    assert (outcome(result, "files").deleted, outcome(result, "files").failed) == (9, 1)
    assert outcome(result, "artefact").deleted == 2
    assert queued(service) == [f"artefact/{stuck_id}"]
    assert len(service.notify.sent) == 1


def test_the_next_run_deletes_a_file_that_failed(service: Service) -> None:
    stuck_id = add_unmatched(service)
    (obstacle,) = add_files(service, stuck_id, "artefact/{}/in-the-way")
    service.run(JOB, undo_days=0)
    obstacle.unlink()
    obstacle.parent.rmdir()
    add_files(service, stuck_id, "artefact/{}")

    result = service.run(JOB, undo_days=0)

    assert result.status is Status.SUCCESS
    assert files_left(service) == set()
    assert queued(service) == []


def test_deletes_the_files_that_a_killed_run_has_queued(service: Service) -> None:
    service.insert("maintenance.file_outbox", job=JOB, path="artefact/one", run_id="killed")
    service.add_file("artefact/one")

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "files").deleted == 1
    assert files_left(service) == set()
    assert queued(service) == []


# Artefacts at an existing location's id


def test_keeps_artefacts_whose_location_id_is_that_of_an_existing_location(service: Service) -> None:
    service.add_location(7)
    ids = {add_unmatched(service, location_id=location_id) for location_id in SEVENS}

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert (outcome(result, "artefact").deleted, outcome(result, "artefact").kept) == (0, len(SEVENS))
    assert left(service) == ids


def test_keeps_an_artefact_at_a_location_that_is_deleted_softly(service: Service) -> None:
    service.add_location(7, deleted_at=service.days_ago(100))
    artefact_id = add_unmatched(service, location_id="7")

    service.run(JOB)

    assert left(service) == {artefact_id}


def test_removes_artefacts_whose_location_id_is_no_locations(service: Service) -> None:
    service.add_location(7)
    for location_id in (
        "",
        " ",
        "8",
        "70",
        "7a",
        "a7",
        "7.5",
        "7 7",
        "9" * 30,
        "NoMatch7",
        "\N{ARABIC-INDIC DIGIT SEVEN}",
    ):
        add_unmatched(service, location_id=location_id)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert service.rows("SELECT location_id FROM artefact") == []


def test_lists_artefacts_at_an_existing_location_apart_as_needing_review(service: Service) -> None:
    service.add_location(7)
    unmatched_id = add_unmatched(service, days=1, location_id="X")
    review_ids = {str(add_unmatched(service, days=1, location_id=location_id)) for location_id in SEVENS}

    service.run(JOB)

    first, heading, *to_review = reported(service)
    assert first == f"X - SNL ({unmatched_id})"
    assert "review" in heading.lower()
    assert {line.partition("(")[2].rstrip(")") for line in to_review} == review_ids


def test_says_nothing_of_a_review_where_none_is_needed(service: Service) -> None:
    service.add_location(7)
    artefact_id = add_unmatched(service, location_id="X")

    service.run(JOB)

    assert reported(service) == [f"X - SNL ({artefact_id})"]


def test_keeps_only_what_is_due_in_its_count_of_what_needs_review(service: Service) -> None:
    service.add_location(7)
    add_unmatched(service, days=8, location_id="7")
    add_unmatched(service, days=6, location_id="7")
    service.add_artefact(location_id="7", last_received_date=service.days_ago(8))

    assert outcome(service.run(JOB), "artefact").kept == 1


# The report


def test_reports_location_provenance_and_artefact_id(service: Service) -> None:
    artefact_id = add_unmatched(service, days=1, location_id="X12", provenance="COMMON_PLATFORM")

    service.run(JOB)

    assert reported(service) == [f"X12 - COMMON_PLATFORM ({artefact_id})"]


def test_sends_the_report_to_the_team_by_its_template(service: Service) -> None:
    add_unmatched(service, days=1)

    result = service.run(JOB)

    (mail,) = service.notify.sent
    assert mail.email_address == "team@example.org"
    assert mail.template_id == service.environ["CATH_NOTIFY_TEMPLATE_NO_MATCH_REPORT"]
    assert set(mail.personalisation) == {"array_of_ids", "env_name"}
    assert mail.personalisation["env_name"] == "Staging"
    assert (outcome(result, "mail").matched, outcome(result, "mail").notified) == (1, 1)


def test_reports_every_unmatched_artefact_new_old_and_expired(service: Service) -> None:
    service.add_artefact()
    ids = {add_unmatched(service, days=days) for days in (0, 1, 7, 8, 100)}
    ids.add(add_unmatched(service, days=2, display_to=service.days_ago(1)))

    service.run(JOB)

    assert sorted(reported(service)) == sorted(f"NO-SUCH - SNL ({artefact_id})" for artefact_id in ids)


def test_sends_nothing_where_every_artefact_matches(service: Service) -> None:
    service.add_artefact()

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert service.notify.sent == []


def test_sends_the_report_once_for_one_reference_time(service: Service) -> None:
    add_unmatched(service, days=1)
    service.run(JOB)

    second = service.run(JOB)

    assert second.status is Status.SUCCESS
    assert outcome(second, "mail").notified == 0
    assert len(service.notify.sent) == 1


def test_sends_the_report_once_a_day(service: Service) -> None:
    add_unmatched(service, days=1)
    service.run(JOB)

    service.run(JOB, as_of=service.as_of + timedelta(hours=5))

    assert len(service.notify.sent) == 1


def test_reports_again_the_next_day(service: Service) -> None:
    add_unmatched(service, days=1)
    service.run(JOB)

    service.run(JOB, as_of=service.as_of + DAY)

    assert len(service.notify.sent) == 2
    assert reported(service, 0) == reported(service, 1)


def test_no_line_of_a_run_and_no_outcome_holds_an_address(service: Service) -> None:
    add_unmatched(service)

    result = service.run(JOB)

    assert "team@example.org" not in "\n".join([*service.reporter.lines, str(result.as_json())])


# Faults of the provider


@pytest.mark.parametrize(
    ("status", "name"), [(400, "BadRequestError"), (403, "AuthError"), (429, "TooManyRequestsError")]
)
def test_a_report_that_is_refused_fails_the_run_after_the_rest_is_done(
    service: Service, status: int, name: str
) -> None:
    artefact_id = add_unmatched(service)
    add_files(service, artefact_id)
    service.notify.fail_next(status, name, "Refused")

    result = service.run(JOB, undo_days=0)

    assert result.status is Status.FAILED
    assert str(status) in (result.error or "")
    assert (outcome(result, "mail").notified, outcome(result, "mail").failed) == (0, 1)
    assert outcome(result, "artefact").deleted == 1
    assert files_left(service) == set()


def test_the_next_run_sends_a_report_that_was_refused(service: Service) -> None:
    artefact_id = add_unmatched(service, days=1)
    service.notify.fail_next(403, "AuthError", "Refused")
    service.run(JOB)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "mail").notified == 1
    assert reported(service) == [f"NO-SUCH - SNL ({artefact_id})"]


def test_the_next_run_reports_also_what_a_run_removed_whose_report_was_refused(service: Service) -> None:
    removed_id, recent_id = add_unmatched(service, days=8), add_unmatched(service, days=1)
    service.notify.fail_next(403, "AuthError", "Refused")
    service.run(JOB)

    service.run(JOB)

    lines = reported(service)
    assert any(str(recent_id) in line for line in lines)
    assert any(str(removed_id) in line for line in lines)


def test_a_lost_template_fails_the_run_and_names_the_template(service: Service) -> None:
    add_unmatched(service)
    service.notify.lose_template(service.environ["CATH_NOTIFY_TEMPLATE_NO_MATCH_REPORT"])

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert "no_match_report" in (result.error or "")
    assert outcome(result, "mail").failed == 1


def test_a_rejected_team_address_fails_the_run(service: Service) -> None:
    add_unmatched(service)
    service.notify.reject("team@example.org")

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert outcome(result, "mail").failed == 1
    assert "team@example.org" not in str(result.as_json())


def test_sends_the_report_once_another_team_address_is_set(service: Service) -> None:
    add_unmatched(service, days=1)
    service.notify.reject("team@example.org")
    service.run(JOB)
    service.environ["CATH_TEAM_EMAIL"] = "other-team@example.org"

    service.run(JOB)

    assert [mail.email_address for mail in service.notify.sent] == ["other-team@example.org"]


def test_a_report_taken_without_an_answer_counts_as_sent(service: Service) -> None:
    add_unmatched(service)
    service.notify.close_next(after_taking=True)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "mail").notified == 1
    assert len(service.notify.sent) == 1


def test_a_report_whose_fate_is_unknown_fails_the_run(service: Service) -> None:
    add_unmatched(service)
    service.notify.close_next(after_taking=True)
    service.notify.close_next(2)

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert outcome(result, "mail").failed == 1
    assert outcome(result, "artefact").deleted == 1


def test_the_next_run_sends_a_report_that_was_never_taken(service: Service) -> None:
    add_unmatched(service, days=1)
    service.notify.close_next(3)
    service.run(JOB)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "mail").notified == 1
    assert len(service.notify.sent) == 1


def test_the_next_run_does_not_send_again_a_report_that_was_taken_unheard(service: Service) -> None:
    add_unmatched(service, days=1)
    service.notify.close_next(after_taking=True)
    service.notify.close_next()
    service.run(JOB)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert len(service.notify.sent) == 1


# What is not configured


def test_without_a_key_the_report_is_undelivered_and_the_run_succeeds(service: Service) -> None:
    del service.environ["CATH_NOTIFY_API_KEY"]
    add_unmatched(service)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert (outcome(result, "mail").notified, outcome(result, "mail").undelivered) == (0, 1)
    assert any("CATH_NOTIFY_API_KEY" in note for note in result.notes)
    assert service.notify.sent == []


def test_without_a_key_old_artefacts_and_their_files_are_removed_still(service: Service) -> None:
    del service.environ["CATH_NOTIFY_API_KEY"]
    add_files(service, add_unmatched(service))

    result = service.run(JOB, undo_days=0)

    assert outcome(result, "artefact").deleted == 1
    assert files_left(service) == set()


def test_without_a_key_nothing_else_of_mail_needs_to_be_set(service: Service) -> None:
    for name in ("API_KEY", "BASE_URL", "TEMPLATE_NO_MATCH_REPORT"):
        del service.environ[f"CATH_NOTIFY_{name}"]
    del service.environ["CATH_TEAM_EMAIL"]
    add_unmatched(service)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "mail").undelivered == 1


def test_sends_an_undelivered_report_of_the_day_once_a_key_is_set(service: Service) -> None:
    key = service.environ.pop("CATH_NOTIFY_API_KEY")
    add_unmatched(service, days=1)
    service.run(JOB)
    service.environ["CATH_NOTIFY_API_KEY"] = key

    result = service.run(JOB)

    assert outcome(result, "mail").notified == 1
    assert len(service.notify.sent) == 1


@pytest.mark.parametrize("name", ["CATH_TEAM_EMAIL", "CATH_NOTIFY_TEMPLATE_NO_MATCH_REPORT", "CATH_BLOB_URL"])
def test_names_a_variable_that_is_missing_and_does_nothing(service: Service, name: str) -> None:
    del service.environ[name]
    add_unmatched(service)

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert name in (result.error or "")
    assert service.count("artefact") == 1
    assert service.notify.sent == []


def test_a_malformed_key_fails_the_run_unseen_and_before_anything_is_removed(service: Service) -> None:
    service.environ["CATH_NOTIFY_API_KEY"] = "secret-and-malformed"
    add_unmatched(service)

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert "CATH_NOTIFY_API_KEY" in (result.error or "")
    assert "secret-and-malformed" not in "\n".join([*service.reporter.lines, str(result.as_json())])
    assert service.count("artefact") == 1


# Dry run, second run, limits


def test_dry_run_tells_what_the_run_then_does(service: Service) -> None:
    service.add_location(7)
    artefact_id = add_unmatched(service, source_artefact_id="list.docx")
    service.insert("artefact_search", id="one", artefact_id=artefact_id)
    add_unmatched(service, days=1)
    add_unmatched(service, location_id="7")

    preview = service.run(JOB, dry_run=True, undo_days=0)
    result = service.run(JOB, undo_days=0)

    matched = {done.target: done.matched for done in preview.outcomes}
    assert matched == {"artefact": 1, "artefact_search": 1, "files": 6, "mail": 1}
    assert {done.target: done.matched for done in result.outcomes} == matched


def test_dry_run_changes_nothing_and_sends_nothing(service: Service) -> None:
    service.add_location(7)
    add_files(service, add_unmatched(service))
    add_unmatched(service, location_id="7")

    preview = service.run(JOB, dry_run=True)

    assert preview.status is Status.SUCCESS
    assert service.notify.sent == []
    assert service.count("maintenance.sent_notice") == 0
    assert service.count("artefact") == 2
    assert service.count("maintenance.artefact_archive") == 0
    assert len(files_left(service)) == 5
    assert queued(service) == []
    for done in preview.outcomes:
        assert {name for name, count in done.counts().items() if count} <= {"matched"}


def test_dry_run_after_the_run_finds_nothing_to_send(service: Service) -> None:
    add_unmatched(service, days=1)
    service.run(JOB)

    assert outcome(service.run(JOB, dry_run=True), "mail").matched == 0


def test_second_run_changes_nothing(service: Service) -> None:
    service.add_location(7)
    add_files(service, add_unmatched(service))
    staying = {add_unmatched(service, days=1), add_unmatched(service, location_id="7")}
    service.run(JOB)

    second = service.run(JOB)

    assert second.status is Status.SUCCESS
    assert {(done.matched, done.changed) for done in second.outcomes} == {(0, 0)}
    assert left(service) == staying
    assert len(service.notify.sent) == 1


def test_max_rows_leaves_the_rest_to_the_next_run(service: Service) -> None:
    for _ in range(3):
        add_unmatched(service)

    result = service.run(JOB, max_rows=2)

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact").deleted == 2
    assert any("max_rows" in note for note in result.notes)
    assert outcome(service.run(JOB), "artefact").deleted == 1


def test_a_refused_run_removes_nothing_and_sends_nothing(service: Service) -> None:
    add_many_unmatched(service, BLAST_ROWS + 1)

    result = service.run(JOB)

    assert result.status is Status.REFUSED
    assert "allow_large" in (result.error or "")
    assert service.count("artefact") == BLAST_ROWS + 1
    assert service.notify.sent == []
    assert service.count("maintenance.sent_notice") == 0


# Concurrent writers


def test_keeps_an_artefact_that_is_received_again_while_its_batch_waits(service: Service) -> None:
    artefact_id = add_unmatched(service)
    add_files(service, artefact_id)
    add_unmatched(service)

    result = run_into(
        service,
        artefact_id,
        "UPDATE artefact SET last_received_date = %s WHERE artefact_id = %s",
        service.days_ago(0),
        artefact_id,
    )

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact").deleted == 1
    assert left(service) == {artefact_id}
    assert len(files_left(service)) == 5
    assert service.count("maintenance.artefact_archive") == 1


def test_keeps_an_artefact_that_comes_to_match_while_its_batch_waits(service: Service) -> None:
    artefact_id = add_unmatched(service)

    run_into(service, artefact_id, "UPDATE artefact SET no_match = false")

    assert left(service) == {artefact_id}


def test_keeps_an_artefact_whose_location_is_added_while_its_batch_waits(service: Service) -> None:
    artefact_id = add_unmatched(service, location_id="7")
    add_unmatched(service, location_id="8")

    result = run_into(
        service, artefact_id, "INSERT INTO location (location_id, name, welsh_name) VALUES (7, 'Court', 'Llys')"
    )

    assert result.status is Status.SUCCESS
    assert outcome(result, "artefact").deleted == 1
    assert left(service) == {artefact_id}


def test_keeps_an_artefact_that_is_moved_to_a_location_while_its_batch_waits(service: Service) -> None:
    service.add_location(7)
    artefact_id = add_unmatched(service)

    run_into(service, artefact_id, "UPDATE artefact SET location_id = '7'")

    assert left(service) == {artefact_id}
    assert service.count("maintenance.artefact_archive") == 0


def test_counts_as_kept_what_came_to_a_location_while_its_batch_waited(service: Service) -> None:
    service.add_location(7)
    artefact_id = add_unmatched(service)

    result = run_into(service, artefact_id, "UPDATE artefact SET location_id = '7'")

    assert (outcome(result, "artefact").deleted, outcome(result, "artefact").kept) == (0, 1)


# The ledger


def test_leaves_a_ledger_row_for_each_table(service: Service) -> None:
    artefact_id = add_unmatched(service)
    service.insert("artefact_search", id="one", artefact_id=artefact_id)

    rows = service.ledger(service.run(JOB).run_id)

    assert rows["artefact"] == (False, service.as_of - 7 * DAY, 1, 1, 1, "success")
    assert rows["artefact_search"][2:] == (1, 1, 0, "success")


def test_dry_run_leaves_ledger_rows_that_say_so(service: Service) -> None:
    add_unmatched(service)

    rows = service.ledger(service.run(JOB, dry_run=True).run_id)

    assert rows["artefact"] == (True, service.as_of - 7 * DAY, 1, 0, 0, "success")


def test_a_failed_report_shows_in_the_ledger(service: Service) -> None:
    add_unmatched(service)
    service.notify.fail_next(403, "AuthError", "Refused")

    rows = service.ledger(service.run(JOB).run_id)

    assert rows["artefact"][2:] == (1, 1, 1, "failed")
