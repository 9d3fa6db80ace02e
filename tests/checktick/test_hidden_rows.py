"""Surveys that a policy hides from the role: neither the deletion nor the report takes the rest for all."""

from cath_dagster.core.model.outcome import Status
from tests.checktick.checktick import CheckTick
from tests.support.checktick_roles import SPECS, role_of


def test_the_deletion_is_refused(checktick: CheckTick) -> None:
    doomed = checktick.add_doomed()
    checktick.connection.execute("ALTER TABLE surveys_legalhold ENABLE ROW LEVEL SECURITY")

    with role_of(checktick, SPECS["data_governance"]):
        plan, done = checktick.govern(dry_run=True), checktick.govern()

    assert done.status is Status.REFUSED
    assert "table surveys_legalhold: row-level security may hide rows" in (plan.would_refuse or "")
    assert checktick.survey_ids() == [doomed]
    assert checktick.smtp.sent == []


def test_the_report_says_that_it_cannot_see_all(checktick: CheckTick) -> None:
    checktick.add_due()
    checktick.connection.execute("ALTER TABLE surveys_survey ENABLE ROW LEVEL SECURITY")

    with role_of(checktick, SPECS["data_governance"]):
        told = checktick.cli("governance", "report")

    assert told.returncode != 0
    assert "BYPASSRLS" in told.stderr.replace("\n", " ")
    assert "Traceback" not in told.stderr
