"""Each job needs the privileges that its specification names, and no other."""

import pytest

from tests.checktick.checktick import CheckTick
from tests.support.checktick_roles import SPECS, role_of
from tests.support.expired import leave_work


def prepare(checktick: CheckTick) -> None:
    """Leave something to do for every job."""
    checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.add_progress(checktick.add_due(), expires_at=checktick.ago(days=1))
    checktick.add_everything(checktick.add_doomed(encrypted_kek_org=b"a key"))
    leave_work(checktick)


@pytest.mark.parametrize("job", SPECS)
def test_a_role_with_the_privileges_of_the_specification_does_the_work(checktick: CheckTick, job: str) -> None:
    prepare(checktick)

    with role_of(checktick, SPECS[job]):
        result = checktick.run(job)

    assert (result.status, result.error) == ("success", None)
    assert any(outcome.changed for outcome in result.outcomes)


@pytest.mark.parametrize(
    ("job", "table", "privilege"),
    [
        ("data_governance", "surveys_survey", "UPDATE"),
        ("data_governance", "surveys_legalhold", "UPDATE"),
        ("data_governance", "surveys_auditlog", "INSERT"),
        ("data_governance", "surveys_collectionitem", "DELETE"),
        ("progress_cleanup", "surveys_surveyprogress", "DELETE"),
    ],
)
def test_a_role_that_lacks_one_is_refused_before_anything_is_done(
    checktick: CheckTick, job: str, table: str, privilege: str
) -> None:
    prepare(checktick)

    with role_of(checktick, SPECS[job], without=(table, privilege)):
        result = checktick.run(job)

    assert result.status == "refused"
    assert f"GRANT {privilege} ON" in (result.error or "")
    assert table in (result.error or "")
    assert checktick.smtp.sent == []
    assert not any(outcome.changed for outcome in result.outcomes)
