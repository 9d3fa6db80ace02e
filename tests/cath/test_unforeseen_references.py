"""Every table from which a job deletes, with a foreign key to it that nobody foresaw."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from cath_dagster.cath import CATH
from cath_dagster.core.roles.required_privileges import Moment
from tests.support.service import Service
from tests.support.unforeseen import EFFECTS, Assertion, Case, cases

CASES = cases(
    CATH,
    Moment(datetime(2026, 11, 18, 1, 0, tzinfo=UTC), {}),
    media_reporting={"delete_reported": True},
)


def add_artefact(service: Service) -> None:
    artefact = service.add_artefact(
        no_match=True,
        location_id="999",
        last_received_date=service.days_ago(100),
        display_to=service.days_ago(1),
    )
    service.insert("artefact_search", id=str(uuid.uuid4()), artefact_id=artefact)


def add_subscriber(service: Service, **values: Any) -> None:
    """Add a user with a subscription to no location and one to an unknown list type."""
    user = service.add_user(**values)
    subscription = service.add_subscription(user, search_type="LOCATION_ID", search_value="nowhere")
    service.add_notification(subscription)
    service.insert(
        "subscription_list_type",
        subscription_list_type_id=uuid.uuid4(),
        user_id=user,
        list_type_ids=[999],
        list_language=["ENGLISH"],
    )


def add_idle_user(service: Service) -> None:
    add_subscriber(service, provenance="SSO", role="VERIFIED", last_signed_in_date=service.days_ago(200))


def add_logs(service: Service) -> None:
    long_ago = service.days_ago(100)
    service.add_notification(service.add_subscription(service.add_user()), created_at=long_ago)
    who = {"user_id": "made up", "user_email": "made up", "user_role": "made up", "user_provenance": "made up"}
    service.insert("audit_log", id=str(uuid.uuid4()), timestamp=long_ago, action="made up", **who)
    what = {"source_system": "SNL", "court_id": "1", "status": "SUCCESS"}
    service.insert("ingestion_log", id=uuid.uuid4(), timestamp=long_ago, **what)


WHAT_IS_DUE: dict[str, Callable[[Service], object]] = {
    "clear_audit": add_logs,
    "expired_artefacts": add_artefact,
    "inactive_verification": add_idle_user,
    "media_reporting": lambda service: service.add_application(applied_date=service.days_ago(5)),
    "no_match_artefacts": add_artefact,
    "subscriptions": add_subscriber,
}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.__name__)
def test_every_table_of_every_job(service: Service, case: Case, effect: Assertion) -> None:
    for _ in range(3):
        WHAT_IS_DUE[case.job](service)

    effect(service, case)
