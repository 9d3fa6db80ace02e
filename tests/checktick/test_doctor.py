"""The doctor asks what a run asks: what it says of a changed schema is what the run would end by, before its first write."""

import json
from datetime import UTC, datetime

import pytest

from cath_dagster.core.model.outcome import Status
from tests.checktick.checktick import CheckTick


def problems(checktick: CheckTick) -> dict[str, str]:
    found = json.loads(checktick.cli("doctor", "checktick", "--json").stdout)
    return {each["subject"]: each["says"] for each in found if each["level"] == "problem"}


def test_a_service_in_order_gives_no_job_a_problem(checktick: CheckTick) -> None:
    assert problems(checktick) == {}
    assert checktick.count("maintenance.ledger_event") == 0


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (
            "ALTER TABLE surveys_survey RENAME hard_deletion_date TO y",
            "surveys_survey has no column hard_deletion_date",
        ),
        ("ALTER TABLE surveys_questionimage DROP COLUMN image", "surveys_questionimage has no column image"),
        ("ALTER TABLE auth_user RENAME email TO mail", "auth_user has no column email"),
        (
            "ALTER TABLE surveys_survey ALTER deletion_date TYPE date",
            "surveys_survey.deletion_date is of type date, where timestamptz is needed",
        ),
    ],
)
def test_what_a_migration_changed_is_said_by_the_doctor_and_by_the_run_before_it_writes(
    checktick: CheckTick, change: str, name: str
) -> None:
    checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.add_due()
    checktick.add_doomed()
    checktick.connection.execute(change)

    said = problems(checktick)["job data_governance"]
    result = checktick.govern()

    assert name in said
    assert "cath_dagster/checktick/tables.py" in said
    assert (result.status, result.error) == (Status.FAILED, f"send_warnings: {said}")
    assert checktick.smtp.sent == []
    assert len(checktick.survey_ids()) == 3
    assert checktick.count("maintenance.ledger_event", "kind = 'batch'") == 0


def test_a_dry_run_says_the_same(checktick: CheckTick) -> None:
    checktick.connection.execute("ALTER TABLE surveys_survey RENAME hard_deletion_date TO y")

    assert problems(checktick)["job data_governance"] in (checktick.govern(dry_run=True).error or "")


def test_a_table_that_no_policy_knows_is_said_by_the_doctor_as_by_the_run(checktick: CheckTick) -> None:
    checktick.connection.execute("CREATE TABLE surveys_note (id int, survey_id bigint REFERENCES surveys_survey)")

    said = problems(checktick)["job data_governance"]
    result = checktick.govern()

    assert "surveys_note.survey_id to surveys_survey" in said
    assert (result.status, result.error) == (Status.REFUSED, f"send_warnings: {said}")


def test_a_variable_that_a_run_needs_is_named_with_the_job(checktick: CheckTick) -> None:
    del checktick.environ["CHECKTICK_MEDIA_URL"]

    assert "CHECKTICK_MEDIA_URL not set" in problems(checktick)["job data_governance"]


def test_a_setting_that_a_run_cannot_use_is_named_though_the_database_cannot_be_reached(checktick: CheckTick) -> None:
    checktick.environ["CHECKTICK_DATA_GOVERNANCE_GRACE_DAYS"] = "soon"
    checktick.environ["CHECKTICK_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"

    said = problems(checktick)

    assert "CHECKTICK_DATA_GOVERNANCE_GRACE_DAYS" in said["job data_governance"]
    assert "job progress_cleanup" not in said


def test_what_the_links_of_a_warning_that_is_due_begin_with_is_asked_for(checktick: CheckTick) -> None:
    checktick.as_of = datetime.now(UTC)
    checktick.add_survey(deletion_date=checktick.ahead(days=3))
    del checktick.environ["CHECKTICK_SITE_URL"]

    assert "CHECKTICK_SITE_URL" in problems(checktick)["job data_governance"]
