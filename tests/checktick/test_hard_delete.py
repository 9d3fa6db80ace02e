"""The deletion of surveys for good."""

from cath_dagster.core.outcome import Status
from tests.checktick.checktick import DEPENDENT, CheckTick
from tests.maintained import outcome


def test_clears_every_table_that_holds_something_of_the_survey(checktick: CheckTick) -> None:
    checktick.add_everything(checktick.add_doomed())
    assert min(checktick.rows_of_every_table().values()) > 0

    result = checktick.govern()

    assert (result.status, result.error) == (Status.SUCCESS, None)
    assert checktick.survey_ids() == []
    assert checktick.rows_of_every_table() == {table: int(table == "surveys_auditlog") for table in DEPENDENT}
    assert outcome(result, "surveys_survey").deleted == 1
