"""No date that the service may hold, however far off, stops a job or the report on what the law required."""

import json

import pytest

from cath_dagster.checktick.tables import METADATA
from cath_dagster.core.run.spec import load_specs
from tests.checktick.checktick import CheckTick
from tests.support.extremes import EXTREMES, date_columns, put_extremes

JOBS = [spec.name for spec in load_specs(CheckTick.location)]


@pytest.mark.parametrize("column", date_columns(METADATA))
def test_every_job_and_the_report_do_their_work_beside_dates_that_cannot_be(checktick: CheckTick, column: str) -> None:
    for _ in EXTREMES:
        checktick.add_survey(deletion_date=checktick.ahead(days=3))
        checktick.add_due()
        survey = checktick.add_doomed()
        held = checktick.add_doomed()
        checktick.add_hold(held)
        checktick.add_hold(survey, removed_at=checktick.ago(days=1))
        checktick.add_progress(held)
        checktick.add_request(survey)
    checktick.add(
        "surveys_auditlog",
        scope="survey",
        action="x",
        metadata="{}",
        created_at=checktick.as_of,
        message="",
        severity="info",
        user_agent="",
        username_attempted="",
    )
    assert put_extremes(checktick, column) >= 1

    for name in JOBS:
        results = [checktick.run(name, dry_run=True), checktick.run(name)]
        assert [result.error for result in results] == [None, None], name
    told = checktick.cli("governance", "report", "--json")
    assert told.returncode in (0, 1), told.stderr
    assert json.loads(told.stdout)
