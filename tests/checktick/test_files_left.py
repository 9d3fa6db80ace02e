"""Files that no run can delete: said once, kept on a list and in the audit log, and settled by a command."""

import json
from typing import Any

import pytest

from cath_dagster.core.model.outcome import Status
from tests.checktick.checktick import CheckTick
from tests.support.maintained import outcome

UNREACHABLE = (
    "/srv/recovery/passport.jpg",
    "https://files.example.org/passport.jpg",
    "s3://bucket/passport.jpg",
    "recovery/../../passport.jpg",
    "recovery//passport.jpg",
    "C:\\documents\\passport.jpg",
)
ELSEWHERE = "recovery/passport.jpg"


def listed(checktick: CheckTick) -> list[dict[str, Any]]:
    done = checktick.cli("files", "list", "checktick", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["files"]
    return found


def records(checktick: CheckTick) -> list[dict[str, Any]]:
    query = "SELECT metadata FROM surveys_auditlog WHERE action = 'survey_files_left' AND survey_id IS NULL ORDER BY id"
    return [row[0] for row in checktick.rows(query)]


@pytest.mark.parametrize("path", [*UNREACHABLE, ELSEWHERE])
def test_a_document_that_lies_elsewhere_is_said_once_and_left(checktick: CheckTick, path: str) -> None:
    survey_id = checktick.add_doomed()
    checktick.add_recovery(survey_id, document_path=path)

    first = checktick.govern(run_id="the-run")
    second = checktick.govern()

    assert (first.status, second.status) == (Status.SUCCESS, Status.SUCCESS)
    assert checktick.survey_ids() == []
    assert [note for note in first.notes if "cath-dagster files list checktick" in note] != []
    assert second.notes == ()
    assert checktick.count("maintenance.file_outbox") == 0
    assert outcome(first, "files").details["left_by_hand"] == 1
    details = checktick.value(
        "SELECT details FROM maintenance.purge_ledger WHERE run_id = 'the-run' AND table_name = 'files'"
    )
    assert details == {"left_by_hand": 1}
    (record,) = records(checktick)
    assert (record["survey_id"], record["run_id"], record["files_left_by_hand"]) == (survey_id, "the-run", 1)
    (file,) = listed(checktick)
    assert (file["row_key"], file["path"], record["file_ids"]) == (str(survey_id), path, [file["file_id"]])


def test_what_is_left_holds_up_no_other_file(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()
    checktick.add_recovery(survey_id, document_path="/srv/a.jpg", video_path="recovery/there.mp4")
    there = checktick.add_file("recovery/there.mp4")
    image = checktick.add_image(checktick.add_question(survey_id), "question_images/one.png")

    result = checktick.govern()

    assert (there.exists(), image.exists()) == (False, False)
    assert outcome(result, "files").deleted == 2
    assert [file["path"] for file in listed(checktick)] == ["/srv/a.jpg"]


def test_an_image_that_is_gone_already_is_not_left(checktick: CheckTick) -> None:
    checktick.add_image(checktick.add_question(checktick.add_doomed()), "question_images/one.png").unlink()

    result = checktick.govern()

    assert (result.status, outcome(result, "files").skipped) == (Status.SUCCESS, 1)
    assert listed(checktick) == []
    assert records(checktick) == []


def test_a_media_folder_that_is_not_there_leaves_nothing_by_hand(checktick: CheckTick) -> None:
    checktick.add_recovery(checktick.add_doomed(), document_path=ELSEWHERE)
    checktick.media.rename(checktick.media.with_name("away"))

    result = checktick.govern()

    assert result.status is Status.FAILED
    assert (checktick.count("maintenance.file_outbox"), listed(checktick)) == (1, [])


def test_what_a_killed_run_had_queued_is_left_by_the_next_with_the_run_that_deleted_the_survey(
    checktick: CheckTick,
) -> None:
    checktick.insert(
        "maintenance.file_outbox",
        job="data_governance",
        path="/srv/a.jpg",
        table_name="surveys_survey",
        row_key="7",
        run_id="killed",
    )

    checktick.govern()

    (record,) = records(checktick)
    assert (record["survey_id"], record["run_id"]) == (7, "killed")
    assert [file["run_id"] for file in listed(checktick)] == ["killed"]


def test_a_dry_run_leaves_nothing(checktick: CheckTick) -> None:
    checktick.add_recovery(checktick.add_doomed(), document_path="/srv/a.jpg")

    checktick.govern(dry_run=True)

    assert (listed(checktick), records(checktick)) == ([], [])


def test_no_path_is_in_what_a_run_says(checktick: CheckTick) -> None:
    checktick.add_recovery(checktick.add_doomed(), document_path="/srv/planted.jpg")

    result = checktick.govern()

    ledger = str(checktick.rows("SELECT row_to_json(e)::text FROM maintenance.ledger_event e"))
    assert "planted" not in f"{result} {result.as_json()} {checktick.reporter.lines} {ledger} {records(checktick)}"


def test_settling_takes_a_file_off_the_list_and_keeps_that_it_was_done(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()
    checktick.add_recovery(survey_id, document_path="/srv/a.jpg", video_path="/srv/b.mp4")
    checktick.govern()
    first, second = listed(checktick)

    done = checktick.cli("files", "settle", "checktick", str(first["file_id"]))

    assert done.returncode == 0, done.stderr
    assert listed(checktick) == [second]
    kept = checktick.rows("SELECT row_key, path, settled_at IS NULL FROM maintenance.file_by_hand ORDER BY file_id")
    assert kept == [(str(survey_id), "", False), (str(survey_id), second["path"], True)]


def test_settling_what_is_not_open_is_wrong_usage(checktick: CheckTick) -> None:
    done = checktick.cli("files", "settle", "checktick", "7")

    assert done.returncode == 2
    assert "7: no such file is open" in done.stderr


def test_the_report_tells_of_it_until_it_is_settled(checktick: CheckTick) -> None:
    checktick.add_recovery(checktick.add_doomed(), document_path="/srv/a.jpg")
    checktick.govern()
    before = checktick.cli("governance", "report")
    (file,) = listed(checktick)
    assert "/srv/a.jpg" in checktick.cli("files", "list", "checktick").stdout
    checktick.cli("files", "settle", "checktick", str(file["file_id"]))

    assert "1 files of deleted surveys are left to be done by hand" in before.stderr
    assert "by hand" not in checktick.cli("governance", "report").stderr
    assert "no file is left" in checktick.cli("files", "list", "checktick").stdout
