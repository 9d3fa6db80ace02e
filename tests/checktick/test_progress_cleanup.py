"""The clean-up of answers that people began and left."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from cath_dagster.core.model.outcome import Status
from tests.checktick.checktick import CheckTick
from tests.support.maintained import outcome

JOB = "progress_cleanup"
TABLE = "surveys_surveyprogress"


@pytest.fixture
def survey_id(checktick: CheckTick) -> int:
    return checktick.add_survey()


def left(checktick: CheckTick) -> list[int]:
    return [row[0] for row in checktick.rows(f"SELECT id FROM {TABLE} ORDER BY id")]


def test_deletes_what_expired_a_moment_ago_and_keeps_what_expires_now(checktick: CheckTick, survey_id: int) -> None:
    checktick.add_progress(survey_id, expires_at=checktick.ago(microseconds=1))
    kept = checktick.add_progress(survey_id, expires_at=checktick.as_of)

    result = checktick.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, TABLE).deleted == 1
    assert left(checktick) == [kept]


def test_deletes_of_known_and_anonymous_respondents_and_of_token_holders(checktick: CheckTick, survey_id: int) -> None:
    expired = checktick.ago(days=1)
    checktick.add_progress(survey_id, expires_at=expired)
    checktick.add_progress(survey_id, expires_at=expired, session_key=None, user_id=checktick.owner_id)
    checktick.add_progress(
        survey_id, expires_at=expired, session_key=None, access_token_id=checktick.add_token(survey_id)
    )

    checktick.run(JOB)

    assert left(checktick) == []


def test_keeps_by_default_what_was_opened_lately_and_not_saved_for_long(checktick: CheckTick, survey_id: int) -> None:
    kept = checktick.add_progress(survey_id, updated_at=checktick.ago(days=200))

    checktick.run(JOB)

    assert left(checktick) == [kept]


def test_deletes_on_request_what_was_not_saved_for_longer_than_so_many_days(
    checktick: CheckTick, survey_id: int
) -> None:
    checktick.add_progress(survey_id, updated_at=checktick.ago(days=90, microseconds=1))
    kept = checktick.add_progress(survey_id, updated_at=checktick.ago(days=90))

    checktick.run(JOB, untouched_days=90)

    assert left(checktick) == [kept]


def test_touches_no_response(checktick: CheckTick, survey_id: int) -> None:
    checktick.add_response(survey_id)
    checktick.add_progress(survey_id, expires_at=checktick.ago(days=1))

    checktick.run(JOB)

    assert checktick.count("surveys_surveyresponse") == 1


def test_progress_whose_owner_returns_while_the_run_waits_stays(checktick: CheckTick, survey_id: int) -> None:
    kept = checktick.add_progress(survey_id, expires_at=checktick.ago(days=1))
    bump = (f"UPDATE {TABLE} SET expires_at = %s WHERE id = %s", [checktick.ahead(days=30), kept])

    result = checktick.run_beside(JOB, bump)

    assert result.status is Status.SUCCESS
    assert left(checktick) == [kept]


def test_a_dry_run_counts_and_changes_nothing(checktick: CheckTick, survey_id: int) -> None:
    kept = checktick.add_progress(survey_id, expires_at=checktick.ago(days=1))

    result = checktick.run(JOB, dry_run=True)

    assert outcome(result, TABLE).matched == 1
    assert left(checktick) == [kept]


def test_a_second_run_changes_nothing(checktick: CheckTick, survey_id: int) -> None:
    checktick.add_progress(survey_id, expires_at=checktick.ago(days=1))
    checktick.run(JOB)

    assert outcome(checktick.run(JOB), TABLE).matched == 0


def test_an_empty_table_is_no_failure(checktick: CheckTick) -> None:
    assert checktick.run(JOB).status is Status.SUCCESS


def test_many_are_deleted_in_several_batches(checktick: CheckTick, survey_id: int) -> None:
    checktick.add_progress(survey_id, expires_at=checktick.ago(days=1))
    columns = "partial_answers, total_questions, answered_count, created_at, updated_at, expires_at, survey_id"
    checktick.connection.execute(
        f"INSERT INTO {TABLE} (session_key, {columns}) SELECT md5(n::text), {columns} FROM {TABLE}, generate_series(1, 8000) n"
    )

    result = checktick.run(JOB)

    assert outcome(result, TABLE).deleted == 8001
    assert outcome(result, TABLE).batches > 1


def test_its_restore_speaks_of_restoring(checktick: CheckTick, survey_id: int) -> None:
    now = datetime.now(UTC)
    row = checktick.add_progress(survey_id, expires_at=now - timedelta(days=1))
    because = "archive_personal_data_because=a trial"
    deleted = json.loads(checktick.cli("run", JOB, "--set", "undo_days=3", "--set", because, "--json").stdout)
    assert left(checktick) == []

    for options, says in ((["--dry-run"], "can come back"), ([], "restored")):
        done = checktick.cli("restore", deleted["run_id"], *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert says in done.stdout
        assert "elete" not in done.stdout
    assert left(checktick) == [row]
