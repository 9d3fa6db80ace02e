"""What the command line prints: the sections that CheckTick's operators know, with counts that are true."""

from datetime import UTC, datetime

import pytest

from tests.checktick.checktick import CheckTick


@pytest.fixture
def busy(checktick: CheckTick) -> CheckTick:
    """CheckTick with three warnings, two soft deletions, one hard one, and two surveys under holds."""
    checktick.as_of = datetime.now(UTC)
    for days in (30, 30, 7):
        checktick.add_survey(deletion_date=checktick.ahead(days=days))
    for _ in range(2):
        checktick.add_due()
    checktick.add_everything(checktick.add_doomed())
    checktick.add_hold(checktick.add_due())
    checktick.add_hold(checktick.add_doomed())
    return checktick


def sections(said: str) -> list[str]:
    """Return the lines of the sections, without those that tell times."""
    lines = [line for line in said.splitlines() if line]
    start = next(number for number, line in enumerate(lines) if line.startswith("Starting"))
    end = next(number for number, line in enumerate(lines) if line.startswith("Data governance processing"))
    return lines[start + 1 : end]


def test_a_run_prints_what_it_did(busy: CheckTick) -> None:
    done = busy.cli("run", "data_governance", "--quiet")

    assert done.returncode == 0, done.stderr
    assert sections(done.stdout) == [
        "--- Deletion Warnings ---",
        "Sent 3 deletion warnings:",
        "  - 30-day warnings: 2",
        "  - 7-day warnings: 1",
        "  - 1-day warnings: 0",
        "--- Automatic Deletions ---",
        "Soft deleted: 2 surveys",
        "Hard deleted: 1 surveys",
        "Skipped (legal hold): 2 surveys",
        "⚠️  3 surveys were deleted. Check audit logs for details.",
    ]
    assert len(busy.smtp.sent) == 3


def test_a_dry_run_prints_what_would_be_done_deletions_included(busy: CheckTick) -> None:
    done = busy.cli("run", "data_governance", "--dry-run", "--quiet")

    assert done.returncode == 0, done.stderr
    assert sections(done.stdout) == [
        "DRY RUN MODE - No changes will be made",
        "--- Deletion Warnings ---",
        "Would send 3 deletion warnings:",
        "  - 30-day warnings: 2",
        "  - 7-day warnings: 1",
        "  - 1-day warnings: 0",
        "--- Automatic Deletions ---",
        "Would soft delete: 2 surveys",
        "Would hard delete: 1 surveys",
        "Skipped (legal hold): 2 surveys",
    ]
    assert busy.smtp.sent == []


def test_a_verbose_dry_run_names_the_surveys_by_id(busy: CheckTick) -> None:
    warned = busy.value(
        "SELECT id FROM surveys_survey WHERE deletion_date > now() + interval '29 days' ORDER BY id LIMIT 1"
    )

    done = busy.cli("run", "data_governance", "--dry-run", "--verbose")

    assert done.returncode == 0, done.stderr
    assert f"      survey {warned}: " in done.stdout
    assert "due for soft deletion without a warning" in done.stdout
    assert "surveys_responsefreezelog" in done.stdout
    assert "Survey " not in done.stdout.replace("Survey Data", "")


def test_a_second_run_counts_what_it_did_itself(busy: CheckTick) -> None:
    busy.cli("run", "data_governance", "--quiet")

    again = busy.cli("run", "data_governance", "--quiet")

    assert "Sent 0 deletion warnings:" in again.stdout
    assert "Soft deleted: 0 surveys" in again.stdout


def test_failures_are_named_and_end_the_command_with_1(busy: CheckTick) -> None:
    busy.smtp.answer_next("RCPT", "554 5.7.1 suspected spam")

    done = busy.cli("run", "data_governance", "--quiet")

    assert done.returncode == 1
    assert "Sent 2 deletion warnings:" in done.stdout
    assert "1 warnings could not be sent; the next run tries again" in done.stdout
    assert "Data governance processing failed" in done.stdout
    assert "send_warnings: 1 messages could not be sent" in done.stderr


def test_a_refused_run_prints_no_sections(busy: CheckTick) -> None:
    busy.connection.execute("CREATE TABLE t (survey_id bigint REFERENCES surveys_survey)")

    done = busy.cli("run", "data_governance", "--quiet")

    assert done.returncode == 1
    assert "---" not in done.stdout
    assert "t.survey_id to surveys_survey" in done.stderr


def test_the_progress_cleanup_prints_what_it_found_and_did(checktick: CheckTick) -> None:
    survey_id = checktick.add_survey()
    for _ in range(3):
        checktick.add_progress(survey_id, expires_at=checktick.ago(days=1))

    preview = checktick.cli("run", "progress_cleanup", "--dry-run", "--verbose")
    done = checktick.cli("run", "progress_cleanup", "--quiet")

    assert "Found 3 expired progress records" in preview.stdout
    assert "Would delete 3 expired survey progress records" in preview.stdout
    assert "Deleted 3 expired survey progress records" in done.stdout


def test_explain_tells_who_deleted_a_survey(busy: CheckTick) -> None:
    doomed = busy.value("SELECT min(id) FROM surveys_survey WHERE hard_deletion_date IS NOT NULL")
    held = busy.value("SELECT max(id) FROM surveys_survey WHERE hard_deletion_date IS NOT NULL")
    busy.cli("run", "data_governance", "--quiet")

    gone = busy.cli("explain", "surveys_survey", str(doomed))
    stays = busy.cli("explain", "surveys_survey", str(held))

    assert "its key was kept in the transaction that deleted the row" in gone.stdout
    assert "no legal hold is on it" in stays.stdout
