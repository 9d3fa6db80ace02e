"""Every table from which a job deletes, with a foreign key to it that nobody foresaw."""

from datetime import UTC, datetime

import pytest

from cath_dagster.bon import BON
from cath_dagster.core.roles.required_privileges import Moment
from tests.bon.bon import Bon
from tests.support.unforeseen import EFFECTS, Assertion, Case, cases

CASES = cases(BON, Moment(datetime(2026, 11, 18, 4, 0, tzinfo=UTC), {}))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.__name__)
def test_every_table_of_every_job(bon: Bon, case: Case, effect: Assertion) -> None:
    business = bon.add_business()
    for _ in range(3):
        draft = bon.add_draft(business)
        bon.add_item(draft)
        bon.add_payment(draft)
        bon.add_session()

    effect(bon, case)
