"""Every table from which a job deletes, with a foreign key to it that nobody foresaw."""

from datetime import UTC, datetime

import pytest

from cath_dagster.checktick import CHECKTICK
from cath_dagster.core.roles.required_privileges import Moment
from tests.checktick.checktick import CheckTick
from tests.support.unforeseen import EFFECTS, Assertion, Case, cases

CASES = cases(CHECKTICK, Moment(datetime(2026, 11, 18, 2, 0, tzinfo=UTC), {}))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.__name__)
def test_every_table_of_every_job(checktick: CheckTick, case: Case, effect: Assertion) -> None:
    survey = checktick.add_survey()
    for _ in range(3):
        checktick.add_progress(survey, expires_at=checktick.ago(days=1))

    effect(checktick, case)
