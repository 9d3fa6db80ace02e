"""No date that the service may hold, however far off, stops a job."""

import pytest

from cath_dagster.bon.tables import METADATA
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.run.spec import load_specs
from tests.bon.bon import Bon
from tests.support.extremes import EXTREMES, date_columns, put_extremes
from tests.support.maintained import outcome

JOBS = [spec.name for spec in load_specs(Bon.location)]


@pytest.mark.parametrize("column", date_columns(METADATA))
def test_every_job_does_its_work_beside_dates_that_cannot_be(bon: Bon, column: str) -> None:
    business = bon.add_business()
    for _ in EXTREMES:
        bon.add_overdue(business)
        bon.add_draft(business, days=1)
        bon.add_session()
        bon.add_credential()
    assert put_extremes(bon, column) >= len(EXTREMES)

    for name in JOBS:
        results = [bon.run(name, dry_run=True), bon.run(name)]

        assert [result.error for result in results] == [None, None], name


def test_an_invoice_due_before_the_calendar_stands_in_its_owners_digest_with_the_others(bon: Bon) -> None:
    business = bon.add_business()
    bon.add_invoice(business, due_date="-infinity", document_number="INV-ODD")
    bon.add_overdue(business, document_number="INV-LATE")
    bon.add_invoice(business, due_date="20265-01-01", document_number="INV-FAR")

    result = bon.run("overdue_detection")

    assert (result.status, outcome(result, "mail").notified) == (Status.SUCCESS, 1)
    (mail,) = bon.smtp.sent
    assert [number in mail.html for number in ("INV-ODD", "INV-LATE", "INV-FAR")] == [True, True, False]
