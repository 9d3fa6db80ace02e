"""No date that the service may hold, however far off, stops a job: it is right, or refused by name."""

import pytest

from cath_dagster.cath.tables import METADATA
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.run.spec import load_specs
from tests.support.extremes import EXTREMES, date_columns, put_extremes, said_of_dates
from tests.support.service import Service, outcome

JOBS = [spec.name for spec in load_specs(Service.location)]
ROWS = len(EXTREMES)


@pytest.fixture
def filled(service: Service) -> Service:
    """As many rows of every table as there are extremes."""
    for number in range(1, ROWS + 1):
        service.add_location(number)
        service.add_list_type(number + 100)
        user = service.add_user("CFT_IDAM", last_signed_in_date=None, created_date=service.days_ago(125))
        service.add_notification(service.add_subscription(user, search_type="LOCATION_ID", search_value=str(number)))
        service.insert(
            "audit_log",
            id=str(number),
            action="Delete user",
            user_id="1",
            user_email="a@example.org",
            user_role="SYSTEM_ADMIN",
            user_provenance="SSO",
        )
        artefact = service.add_artefact(no_match=number % 2 == 0)
        service.insert("artefact_search", id=str(number), artefact_id=artefact)
        service.insert(
            "ingestion_log",
            id=artefact,
            timestamp=service.days_ago(1),
            source_system="SNL",
            court_id="1",
            status="SUCCESS",
        )
        service.add_application()
    return service


@pytest.mark.parametrize("column", date_columns(METADATA))
def test_every_job_does_its_work_beside_dates_that_cannot_be(filled: Service, column: str) -> None:
    assert put_extremes(filled, column) >= ROWS

    for name in JOBS:
        planned, done = filled.run(name, dry_run=True), filled.run(name)

        errors = [result.error for result in (planned, done)]
        if column in ("user.last_signed_in_date", "user.created_date") and name == "inactive_verification":
            assert all(error and "users are neither warned nor deleted" in error for error in errors)
        else:
            assert errors == [None, None], (name, errors)
        assert not [words for error in errors for words in said_of_dates(error)]


def test_names_whom_it_can_neither_warn_nor_delete_and_warns_the_others(service: Service) -> None:
    odd = service.add_user(last_signed_in_date="-infinity")
    staff = service.add_user("SSO", last_signed_in_date="0044-03-15 BC")
    service.add_user("SSO")
    service.add_user(last_signed_in_date=service.days_ago(120))

    result = service.run("inactive_verification")

    assert result.status is Status.FAILED
    assert str(odd) in str(result.error)
    assert str(staff) in str(result.error)
    assert (outcome(result, "mail").notified, service.count('"user"')) == (1, 4)


def test_a_display_that_ended_before_the_calendar_is_over_and_its_files_go(service: Service) -> None:
    ended = service.add_artefact(display_to="-infinity")
    on_display = service.add_artefact(display_to="20265-01-01")
    service.add_file(f"artefact/{ended}")
    service.add_file(f"artefact/{on_display}")

    result = service.run("expired_artefacts")

    assert result.error is None
    assert service.rows("SELECT artefact_id FROM artefact") == [(on_display,)]
    assert [file.name for file in service.blob_root.rglob("*") if file.is_file()] == [str(on_display)]
    assert service.count("maintenance.file_outbox") == 0
