"""The report on retention: for any day what was due, done, held and by whom, and overdue and why."""

import json
from datetime import UTC, date, datetime, timedelta
from functools import partial

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.checktick.jobs.data_governance import SPEC
from cath_dagster.checktick.report import RetentionReport, last_tick, read_report
from cath_dagster.core.postgres.database import Database
from tests.checktick.checktick import CheckTick
from tests.support.maintained import outcome

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not this one'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON surveys_survey FOR EACH ROW EXECUTE FUNCTION refuse();
"""


def report_at(checktick: CheckTick, at: datetime, *, tick: datetime | None = None) -> RetentionReport:
    """Return the report as it stands at an instant."""
    engine = open_engine(checktick.url, variable="test", application_name="test")
    read = partial(read_report, day=at.date(), at=at, tick=tick or last_tick(SPEC.cron, at))
    try:
        with Database(engine) as database:
            return database.transaction(read)
    finally:
        engine.dispose()


def end_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)


def today(checktick: CheckTick) -> RetentionReport:
    return report_at(checktick, checktick.ahead(hours=8))


def ids(deletions: tuple[object, ...]) -> list[tuple[int, str]]:
    return [(each.survey_id, each.phase.value) for each in deletions]  # type: ignore[attr-defined]


def test_the_last_tick_is_the_one_whose_run_has_had_its_hour() -> None:
    at = datetime(2026, 11, 18, 2, 59, tzinfo=UTC)

    assert last_tick("0 2 * * *", at) == datetime(2026, 11, 17, 2, 0, tzinfo=UTC)
    assert last_tick("0 2 * * *", at + timedelta(minutes=1)) == datetime(2026, 11, 18, 2, 0, tzinfo=UTC)


def test_what_a_run_did_is_done(checktick: CheckTick) -> None:
    due, doomed = checktick.add_due(), checktick.add_doomed()
    checktick.govern(run_id="the-run")

    report = today(checktick)

    assert sorted(ids(report.done)) == [(due, "soft"), (doomed, "hard")]
    assert [each.run_id for each in report.done if each.survey_id == doomed] == ["the-run"]
    assert (report.held, report.overdue, report.waiting) == ((), (), ())


def test_the_day_after_says_nothing_of_it(checktick: CheckTick) -> None:
    checktick.add_due()
    checktick.add_doomed()
    checktick.govern()

    assert report_at(checktick, checktick.ahead(days=1, hours=8)).due == ()


def test_a_past_day_is_told_after_the_survey_is_gone(checktick: CheckTick) -> None:
    survey_id = checktick.add_due()
    checktick.add_hold(survey_id, removed_at=checktick.ago(hours=2), placed_at=checktick.ago(days=40))
    for days in (0, 30):
        checktick.govern(as_of=checktick.ahead(days=days))
    assert checktick.survey_ids() == []

    soft = report_at(checktick, end_of(checktick.as_of.date()))
    hard = report_at(checktick, end_of(checktick.ahead(days=30).date()))

    assert (ids(soft.done), ids(hard.done)) == ([(survey_id, "soft")], [(survey_id, "hard")])


def test_what_is_held_is_told_with_the_authority(checktick: CheckTick) -> None:
    survey_id = checktick.add_due()
    hold_id = checktick.add_hold(survey_id, authority="Information Commissioner")
    checktick.govern()

    report = today(checktick)

    (held,) = report.held
    assert held.hold is not None
    assert (held.survey_id, held.hold.hold_id, held.hold.authority) == (survey_id, hold_id, "Information Commissioner")
    assert report.overdue == ()


def test_a_hold_counts_for_the_days_on_which_it_was_active(checktick: CheckTick) -> None:
    survey_id = checktick.add_survey(deletion_date=checktick.ago(days=20))
    checktick.add_hold(survey_id, placed_at=checktick.ago(days=30), removed_at=checktick.ago(days=5))

    assert ids(report_at(checktick, checktick.ago(days=6)).held) == [(survey_id, "soft")]
    assert ids(report_at(checktick, checktick.ago(days=4)).overdue) == [(survey_id, "soft")]


def test_what_became_due_after_the_last_run_waits_for_the_next(checktick: CheckTick) -> None:
    survey_id = checktick.add_survey(deletion_date=checktick.ahead(hours=2))
    checktick.govern()

    report = today(checktick)

    assert (ids(report.waiting), report.overdue) == ([(survey_id, "soft")], ())


def test_overdue_because_no_run_came(checktick: CheckTick) -> None:
    survey_id = checktick.add_due()

    report = today(checktick)

    (overdue,) = report.alerts
    assert (overdue.survey_id, overdue.why) == (survey_id, "no run has ended since it was due")


def test_overdue_because_a_run_failed_on_it(checktick: CheckTick) -> None:
    checktick.add_due()
    checktick.connection.execute(REFUSE)
    checktick.govern(run_id="the-run")

    (overdue,) = today(checktick).alerts

    assert overdue.why == "run the-run tried and failed"


def test_overdue_because_the_run_was_refused(checktick: CheckTick) -> None:
    checktick.add_doomed()
    checktick.connection.execute("CREATE TABLE t (survey_id bigint REFERENCES surveys_survey)")
    checktick.govern(run_id="the-run")

    (overdue,) = today(checktick).alerts

    assert overdue.why == "run the-run ended refused before it came to it"


def test_overdue_because_the_run_was_told_to_stop(checktick: CheckTick) -> None:
    for _ in range(2):
        checktick.add_due()
    checktick.govern(run_id="the-run", max_rows=1)

    (overdue,) = today(checktick).alerts

    assert overdue.why == "run the-run was told to stop before it, by max_rows"


def test_a_survey_that_was_late_is_told_with_the_day_on_which_it_was_done(checktick: CheckTick) -> None:
    checktick.add_survey(deletion_date=checktick.ago(days=3))
    checktick.govern()

    (overdue,) = report_at(checktick, checktick.ago(days=1)).overdue

    assert overdue.why == "it was late, and done on 2026-11-18"


@pytest.mark.parametrize(
    ("values", "words", "alerts"),
    [
        ({"status": "published"}, "published again", 0),
        ({"closed_at": None}, "never closed", 1),
    ],
)
def test_a_survey_that_no_rule_takes_is_overdue_with_its_reason(
    checktick: CheckTick, values: dict[str, object], words: str, alerts: int
) -> None:
    checktick.add_due(**values)
    checktick.govern()

    report = today(checktick)

    (overdue,) = report.overdue
    assert words in (overdue.why or "")
    assert len(report.alerts) == alerts


def test_a_soft_deleted_survey_without_a_hard_date_is_an_alert(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed(hard_deletion_date=None)

    report = today(checktick)

    assert ids(report.alerts) == [(survey_id, "hard")]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"closed_at": None, "deletion_date": None}, id="closed by the status alone"),
        pytest.param({"deletion_date": None}, id="closed, with its date taken away"),
        pytest.param({"deletion_date": None, "status": "suspended"}, id="suspended after it was closed"),
    ],
)
def test_a_closed_survey_without_a_date_is_counted_and_named(checktick: CheckTick, values: dict[str, object]) -> None:
    undated = checktick.add_survey(**values)
    checktick.add_survey(closed_at=None, deletion_date=None, status="published")
    checktick.add_survey(closed_at=None, deletion_date=None, status="draft")
    checktick.add_survey(deletion_date=None, status="published")
    result = checktick.govern()

    report = today(checktick)

    assert report.strays.undated == (undated,)
    assert (report.overdue, report.waiting) == ((), ())
    found = outcome(result, "surveys_survey")
    assert (found.kept, found.details["soft_undated_ids"]) == (1, [str(undated)])


def test_a_survey_that_is_there_again_after_its_deletion_is_named(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()
    checktick.govern()
    assert today(checktick).strays.returned == ()
    checktick.add_survey(id=survey_id)

    assert today(checktick).strays.returned == (survey_id,)


def test_a_survey_that_is_there_again_goes_again_by_its_own_dates(checktick: CheckTick) -> None:
    survey_id = checktick.add_doomed()
    checktick.govern()
    checktick.add_doomed(id=survey_id)

    checktick.govern()

    assert checktick.survey_ids() == []
    assert [record["survey_id"] for record in checktick.records()] == [survey_id, survey_id]


def test_the_command_names_surveys_that_the_dates_miss_and_ends_well(checktick: CheckTick) -> None:
    undated = checktick.add_survey(closed_at=None, deletion_date=None)

    done = checktick.cli("governance", "report")
    said = json.loads(checktick.cli("governance", "report", "--json").stdout)

    assert done.returncode == 0
    assert (
        f"1 closed surveys have no date of deletion, so that no rule will ever take them: surveys {undated}"
        in done.stderr
    )
    assert (said["undated"], said["returned"]) == ([undated], [])


def test_warnings_of_the_day_are_counted(checktick: CheckTick) -> None:
    checktick.as_of = datetime.now(UTC)
    for days in (30, 30, 7):
        checktick.add_survey(deletion_date=checktick.ahead(days=days))
    checktick.govern()

    report = report_at(checktick, datetime.now(UTC))

    assert report.warnings == {"30 days, sent": 2, "7 days, sent": 1}


def test_the_command_tells_it_and_fails_if_something_is_overdue(checktick: CheckTick) -> None:
    checktick.as_of = datetime.now(UTC)
    held = checktick.add_survey(deletion_date=checktick.ago(days=3))
    checktick.add_hold(held, authority="Information Commissioner")
    fine = checktick.cli("governance", "report")
    overdue = checktick.add_survey(deletion_date=checktick.ago(days=3))

    alarmed = checktick.cli("governance", "report")

    assert fine.returncode == 0, fine.stderr
    assert "Information Commissioner" in fine.stdout
    assert alarmed.returncode == 1
    assert f"1 deletions are overdue and nothing holds them: surveys {overdue}" in alarmed.stderr


def test_the_command_speaks_json_of_any_day(checktick: CheckTick) -> None:
    checktick.as_of = datetime.now(UTC)
    survey_id = checktick.add_survey(deletion_date=checktick.ago(days=3))
    day = checktick.ago(days=2).date().isoformat()

    said = json.loads(checktick.cli("governance", "report", "--day", day, "--json").stdout)
    before = json.loads(checktick.cli("governance", "report", "--day", "2025-01-01", "--json").stdout)

    assert (said["day"], said["alerts"], said["overdue"][0]["survey_id"]) == (day, 1, survey_id)
    assert (before["due"], before["alerts"]) == ([], 0)


@pytest.mark.parametrize("day", ["yesterday", "2999-01-01"])
def test_a_day_that_is_none_or_to_come_is_wrong_usage(checktick: CheckTick, day: str) -> None:
    done = checktick.cli("governance", "report", "--day", day)

    assert done.returncode == 2
    assert "--day" in done.stderr


def test_a_database_without_our_schema_says_what_to_do(checktick: CheckTick) -> None:
    with psycopg.connect(checktick.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA maintenance CASCADE")

    done = checktick.cli("governance", "report")

    assert done.returncode == 1
    assert "cath-dagster migrate checktick" in done.stderr
