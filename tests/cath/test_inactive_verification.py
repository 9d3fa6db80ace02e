"""Idle users: who is warned, when, how often, and who is deleted with what goes along."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from datetime import time as TimeOfDay
from typing import Any

import pytest

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.notify import NotifyMailer
from cath_dagster.cath import CATH
from cath_dagster.cath.messages import TEMPLATES
from cath_dagster.core.model.outcome import COUNTS, RunResult, Status
from cath_dagster.core.ports.mail import Delivery, Mailer, Message
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import load_specs
from cath_dagster.development.simulators.notify import NotifySimulator
from tests.support.service import Service, SilentReporter, outcome

JOB = "inactive_verification"
THRESHOLDS = {"B2C_IDAM": (350, 365), "PI_AAD": (350, 365), "CFT_IDAM": (118, 132), "CRIME_IDAM": (180, 208)}
WARNED = sorted(THRESHOLDS)
MIDNIGHT, NOON = TimeOfDay(0), TimeOfDay(12)
# The service's columns hold milliseconds.
LAST_MOMENT = TimeOfDay(23, 59, 59, 999_000)


def add_idle(service: Service, provenance: str, days: int, at: TimeOfDay = NOON, **values: Any) -> uuid.UUID:
    """Add a user, no administrator, who was active last so many calendar days before `as_of`."""
    last = datetime.combine(service.as_of.date() - timedelta(days=days), at)
    return service.add_user(provenance, **{"role": "VERIFIED", "last_signed_in_date": last, **values})


def send_warnings(service: Service, days_ago: int, at: TimeOfDay = NOON) -> RunResult:
    """Run the job as of so many calendar days before `as_of`, as if the provider had answered at that time."""
    as_of = datetime.combine(service.as_of.date() - timedelta(days=days_ago), at, UTC)
    result = service.run(JOB, as_of=as_of)
    service.connection.execute(
        "UPDATE maintenance.sent_notice SET sent_at = %s WHERE sent_at IS NOT NULL AND as_of = %s", [as_of, as_of]
    )
    return result


def add_deletable(service: Service, provenance: str = "CFT_IDAM", **values: Any) -> uuid.UUID:
    """Add a user whose last idle day allows the deletion, and who was warned when it was time to."""
    warn, delete = THRESHOLDS[provenance]
    user_id = add_idle(service, provenance, delete, **values)
    send_warnings(service, delete - warn)
    return user_id


def exists(service: Service, user_id: uuid.UUID) -> bool:
    return bool(service.value('SELECT count(*) FROM "user" WHERE user_id = %s', user_id))


def sign_in(service: Service, user_id: uuid.UUID, days_ago: int = 0) -> None:
    service.connection.execute(
        'UPDATE "user" SET last_signed_in_date = %s WHERE user_id = %s', [service.days_ago(days_ago), user_id]
    )


def addressees(service: Service) -> list[str]:
    return [mail.email_address for mail in service.notify.sent]


def address(service: Service, user_id: uuid.UUID) -> str:
    return str(service.value('SELECT email FROM "user" WHERE user_id = %s', user_id))


def everything_said(service: Service, result: RunResult) -> str:
    """Return all that a run told anyone but the addressees: its result, its lines and what it wrote down."""
    written = service.rows(
        "SELECT to_jsonb(event)::text FROM maintenance.ledger_event AS event"
        " UNION ALL SELECT to_jsonb(notice)::text FROM maintenance.sent_notice AS notice"
    )
    return "\n".join([json.dumps(result.as_json()), repr(result), *service.reporter.lines, str(written)])


class ImpatientResources(EnvironmentBackends):
    """Waits for Notify no longer than it is told, and between attempts not at all."""

    timeout = 10.0

    def mailer(self) -> Mailer:
        return NotifyMailer(
            api_key=self.environ["CATH_NOTIFY_API_KEY"],
            base_url=self.environ["CATH_NOTIFY_BASE_URL"],
            templates={name: self.environ[f"CATH_NOTIFY_TEMPLATE_{name.upper()}"] for name in TEMPLATES},
            now=lambda: datetime.now(UTC),
            timeout=self.timeout,
            sleep=lambda seconds: None,
        )


def run_impatiently(
    service: Service, notify: NotifySimulator | None = None, *, timeout: float = ImpatientResources.timeout
) -> RunResult:
    """Run the job with a mailer that does not wait; against another Notify if one is given."""
    other = {"CATH_NOTIFY_API_KEY": notify.api_key, "CATH_NOTIFY_BASE_URL": notify.base_url} if notify else {}
    backends = ImpatientResources("CATH", {**service.environ, **other})
    backends.timeout = timeout
    return execute(
        next(spec for spec in load_specs(CATH) if spec.name == JOB),
        {"as_of": service.as_of},
        run_id=str(uuid.uuid4()),
        now=datetime.now(UTC) + timedelta(days=3_650),
        backends=backends,
        reporter=service.reporter,
    )


SIGN_IN = 'UPDATE "user" SET last_signed_in_date = %s WHERE user_id = %s'


# The days


def test_sends_no_warning_the_day_before_the_warning_day(service: Service) -> None:
    service.as_of = datetime.combine(service.as_of, TimeOfDay.max, UTC)
    for provenance, (warn, _) in THRESHOLDS.items():
        add_idle(service, provenance, warn - 1, MIDNIGHT)

    result = service.run(JOB)

    assert outcome(result, "mail").matched == 0
    assert addressees(service) == []


def test_warns_on_the_warning_day(service: Service) -> None:
    service.as_of = datetime.combine(service.as_of, MIDNIGHT, UTC)
    warned = [add_idle(service, provenance, warn, LAST_MOMENT) for provenance, (warn, _) in THRESHOLDS.items()]

    result = service.run(JOB)

    assert outcome(result, "mail").notified == len(THRESHOLDS)
    assert sorted(addressees(service)) == sorted(address(service, user_id) for user_id in warned)


def test_keeps_a_warned_user_the_day_before_the_deletion_day(service: Service) -> None:
    service.as_of = datetime.combine(service.as_of, TimeOfDay.max, UTC)
    users = [add_idle(service, provenance, delete - 1, MIDNIGHT) for provenance, (_, delete) in THRESHOLDS.items()]
    for days in sorted({delete - 1 - warn for warn, delete in THRESHOLDS.values()}, reverse=True):
        send_warnings(service, days, MIDNIGHT)
    assert len(addressees(service)) == len(THRESHOLDS)

    result = service.run(JOB)

    assert outcome(result, "user").deleted == 0
    assert all(exists(service, user_id) for user_id in users)


def test_deletes_a_warned_user_on_the_deletion_day(service: Service) -> None:
    service.as_of = datetime.combine(service.as_of, MIDNIGHT, UTC)
    users = [add_idle(service, provenance, delete, LAST_MOMENT) for provenance, (_, delete) in THRESHOLDS.items()]
    for days in sorted({delete - warn for warn, delete in THRESHOLDS.values()}, reverse=True):
        send_warnings(service, days, LAST_MOMENT)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "user").deleted == len(THRESHOLDS)
    assert not any(exists(service, user_id) for user_id in users)
    assert len(addressees(service)) == len(THRESHOLDS)


def test_keeps_a_member_of_staff_idle_for_eighty_nine_days(service: Service) -> None:
    service.as_of = datetime.combine(service.as_of, TimeOfDay.max, UTC)
    user_id = add_idle(service, "SSO", 89, MIDNIGHT, role="INTERNAL_ADMIN_CTSC")

    service.run(JOB)

    assert exists(service, user_id)


def test_deletes_a_member_of_staff_idle_for_ninety_days_without_a_warning(service: Service) -> None:
    service.as_of = datetime.combine(service.as_of, MIDNIGHT, UTC)
    user_id = add_idle(service, "SSO", 90, LAST_MOMENT, role="INTERNAL_ADMIN_CTSC")

    result = service.run(JOB)

    assert outcome(result, "user").deleted == 1
    assert not exists(service, user_id)
    assert addressees(service) == []


def test_counts_days_in_utc_whatever_the_zone_of_as_of(service: Service) -> None:
    add_idle(service, "CFT_IDAM", 117, MIDNIGHT)
    late = datetime.combine(service.as_of, TimeOfDay(23, 30), UTC)

    result = service.run(JOB, as_of=f"{late + timedelta(hours=2):%Y-%m-%dT%H:%M:%S}+02:00")

    assert outcome(result, "mail").matched == 0


def test_counts_from_the_creation_where_a_user_never_signed_in_again(service: Service) -> None:
    warned = add_idle(service, "CFT_IDAM", 0, last_signed_in_date=None, created_date=service.days_ago(118))
    add_idle(service, "CFT_IDAM", 0, last_signed_in_date=None, created_date=service.days_ago(117))

    service.run(JOB)

    assert addressees(service) == [address(service, warned)]


def test_deletes_staff_who_never_signed_in_again(service: Service) -> None:
    user_id = add_idle(service, "SSO", 0, last_signed_in_date=None, created_date=service.days_ago(90))

    service.run(JOB)

    assert not exists(service, user_id)


def test_takes_the_days_of_the_environment(service: Service) -> None:
    service.environ |= {"CATH_INACTIVE_VERIFICATION_CRIME_WARN_DAYS": "10"}
    user_id = add_idle(service, "CRIME_IDAM", 10)

    result = service.run(JOB)

    assert addressees(service) == [address(service, user_id)]
    assert result.settings["crime_warn_days"] == 10


def test_refuses_a_warning_after_the_deletion(service: Service) -> None:
    user_id = add_idle(service, "SSO", 90)

    result = service.run(JOB, cft_warn_days=133)

    assert result.status is not Status.SUCCESS
    assert "cft_warn_days" in (result.error or "")
    assert exists(service, user_id)


# What a mail says


def test_tells_a_media_user_where_to_verify(service: Service) -> None:
    add_idle(service, "PI_AAD", 350, first_name="Ada", surname="Byron")

    service.run(JOB)

    (mail,) = service.notify.sent
    assert mail.template_id == service.environ["CATH_NOTIFY_TEMPLATE_MEDIA_WARNING"]
    assert mail.personalisation == {
        "full_name": "Ada Byron",
        "verification_page_link": service.environ["CATH_MEDIA_VERIFICATION_LINK"],
    }


def test_tells_an_idam_user_where_to_sign_in(service: Service) -> None:
    service.as_of = datetime(2026, 11, 8, 8, 1, tzinfo=UTC)
    last = datetime(2026, 2, 3, 23, 59)
    for provenance in ("CFT_IDAM", "CRIME_IDAM"):
        add_idle(service, provenance, 0, first_name="Ada", surname=provenance, last_signed_in_date=last)

    service.run(JOB)

    told = {mail.template_id: mail.personalisation for mail in service.notify.sent}
    assert len(service.notify.sent) == 2
    assert told == {
        service.environ[f"CATH_NOTIFY_TEMPLATE_{template}_WARNING"]: {
            "full_name": f"Ada {template}_IDAM",
            "last_signed_in_date": "03 February 2026",
            "cft_sign_in_link": service.environ["CATH_CFT_SIGN_IN_LINK"],
            "crime_sign_in_link": service.environ["CATH_CRIME_SIGN_IN_LINK"],
        }
        for template in ("CFT", "CRIME")
    }


def test_warns_a_user_without_a_name(service: Service) -> None:
    add_idle(service, "CFT_IDAM", 118, first_name=None, surname=None)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert service.notify.sent[0].personalisation["full_name"]


# Media users with several rows


def test_an_active_media_twin_keeps_both(service: Service) -> None:
    idle = add_idle(service, "B2C_IDAM", 365, email="Press@Example.com")
    send_warnings(service, 15)
    active = add_idle(service, "PI_AAD", 349, email="press@example.COM")

    result = service.run(JOB)

    assert exists(service, idle)
    assert exists(service, active)
    assert outcome(result, "mail").matched == 0


def test_idle_media_twins_get_one_mail(service: Service) -> None:
    add_idle(service, "B2C_IDAM", 500, email="Press@Example.com")
    add_idle(service, "PI_AAD", 350, email="press@example.COM")

    result = service.run(JOB)

    assert outcome(result, "mail").notified == 1
    assert [sent.lower() for sent in addressees(service)] == ["press@example.com"]


def test_idle_media_twins_are_deleted_together(service: Service) -> None:
    older = add_idle(service, "B2C_IDAM", 500, email="Press@Example.com")
    newer = add_deletable(service, "PI_AAD", email="press@example.COM")

    result = service.run(JOB)

    assert outcome(result, "user").deleted == 2
    assert not exists(service, older)
    assert not exists(service, newer)


def test_a_twin_row_made_after_the_warning_cancels_it(service: Service) -> None:
    warned = add_deletable(service, "B2C_IDAM", email="press@example.com")
    joined = add_idle(
        service, "PI_AAD", 0, email="PRESS@example.com", last_signed_in_date=None, created_date=service.days_ago(3)
    )

    service.run(JOB)

    assert exists(service, warned)
    assert exists(service, joined)


def test_twins_idle_again_after_one_joined_get_one_mail_more(service: Service) -> None:
    add_idle(service, "B2C_IDAM", 800, email="press@example.com")
    send_warnings(service, 440)
    add_idle(service, "PI_AAD", 355, email="PRESS@example.com")

    service.run(JOB)

    assert [sent.lower() for sent in addressees(service)] == ["press@example.com"] * 2


def test_an_idle_twin_who_joins_after_the_warning_is_not_mailed_again(service: Service) -> None:
    add_idle(service, "B2C_IDAM", 360, email="press@example.com")
    send_warnings(service, 10)
    add_idle(service, "PI_AAD", 400, email="PRESS@example.com")

    service.run(JOB)

    assert addressees(service) == ["press@example.com"]


def test_an_idle_twin_who_joined_after_the_warning_goes_along(service: Service) -> None:
    warned = add_deletable(service, "B2C_IDAM", email="press@example.com")
    joined = add_idle(service, "PI_AAD", 400, email="PRESS@example.com")

    service.run(JOB)

    assert not exists(service, warned)
    assert not exists(service, joined)


def test_one_address_at_another_provider_is_another_person(service: Service) -> None:
    media = add_deletable(service, "B2C_IDAM", email="press@example.com")
    active = add_idle(service, "CFT_IDAM", 0, email="press@example.com")

    service.run(JOB)

    assert not exists(service, media)
    assert exists(service, active)


def test_one_address_twice_in_cft_is_two_people(service: Service) -> None:
    idle = add_deletable(service, "CFT_IDAM", email="clerk@example.com")
    active = add_idle(service, "CFT_IDAM", 0, email="clerk@example.com")

    service.run(JOB)

    assert not exists(service, idle)
    assert exists(service, active)


# Warned long enough


@pytest.mark.parametrize("provenance", ["CFT_IDAM", "PI_AAD"])
def test_keeps_a_user_warned_a_day_too_late(service: Service, provenance: str) -> None:
    warn, delete = THRESHOLDS[provenance]
    service.as_of = datetime.combine(service.as_of, TimeOfDay.max, UTC)
    user_id = add_idle(service, provenance, 400)
    send_warnings(service, delete - warn - 1, MIDNIGHT)

    result = service.run(JOB)

    assert exists(service, user_id)
    assert outcome(result, "user").kept == 1


@pytest.mark.parametrize("provenance", ["B2C_IDAM", "CRIME_IDAM"])
def test_deletes_a_user_warned_long_enough_ago_in_whole_days(service: Service, provenance: str) -> None:
    warn, delete = THRESHOLDS[provenance]
    service.as_of = datetime.combine(service.as_of, MIDNIGHT, UTC)
    user_id = add_idle(service, provenance, 400)
    send_warnings(service, delete - warn, LAST_MOMENT)

    service.run(JOB)

    assert not exists(service, user_id)


def test_missed_runs_delay_the_deletion_of_who_was_not_warned(service: Service) -> None:
    user_id = add_idle(service, "CFT_IDAM", 500)

    result = service.run(JOB)

    assert outcome(result, "mail").notified == 1
    assert outcome(result, "user").deleted == 0
    assert exists(service, user_id)


def test_a_sign_in_after_the_warning_cancels_it(service: Service) -> None:
    user_id = add_deletable(service)
    sign_in(service, user_id, days_ago=13)

    service.run(JOB)

    assert exists(service, user_id)


def test_a_cancelled_warning_does_not_count_in_the_next_idle_period(service: Service) -> None:
    user_id = add_idle(service, "CFT_IDAM", 400)
    send_warnings(service, 280)
    sign_in(service, user_id, days_ago=132)

    service.run(JOB)

    assert exists(service, user_id)


def test_warns_anew_in_the_next_idle_period(service: Service) -> None:
    user_id = add_idle(service, "CFT_IDAM", 400)
    send_warnings(service, 280)
    sign_in(service, user_id, days_ago=118)

    service.run(JOB)

    assert addressees(service) == [address(service, user_id)] * 2


def test_warns_once_in_an_idle_period(service: Service) -> None:
    add_idle(service, "CFT_IDAM", 125)
    send_warnings(service, 7)
    send_warnings(service, 3)

    result = service.run(JOB)

    assert outcome(result, "mail").matched == 0
    assert len(addressees(service)) == 1


# Who is never deleted


def test_keeps_the_administrator_who_was_active_last(service: Service) -> None:
    last = add_idle(service, "SSO", 100, role="SYSTEM_ADMIN")
    earlier = add_idle(service, "SSO", 101, role="SYSTEM_ADMIN")

    result = service.run(JOB)

    assert exists(service, last)
    assert not exists(service, earlier)
    assert outcome(result, "user").kept == 1


@pytest.mark.parametrize("provenance", ["CFT_IDAM", "LEGACY"])
def test_protects_one_administrator_over_all_provenances(service: Service, provenance: str) -> None:
    last = add_idle(service, provenance, 10, role="SYSTEM_ADMIN")
    staff = add_idle(service, "SSO", 100, role="SYSTEM_ADMIN")

    service.run(JOB)

    assert exists(service, last)
    assert not exists(service, staff)


def test_keeps_the_last_administrator_though_warned_long_ago(service: Service) -> None:
    user_id = add_deletable(service, "CRIME_IDAM", role="SYSTEM_ADMIN")

    service.run(JOB)

    assert exists(service, user_id)


def test_an_administrator_who_never_signed_in_again_counts_from_the_creation(service: Service) -> None:
    created = add_idle(
        service, "SSO", 0, role="SYSTEM_ADMIN", last_signed_in_date=None, created_date=service.days_ago(95)
    )
    signed_in = add_idle(service, "SSO", 100, role="SYSTEM_ADMIN")

    service.run(JOB)

    assert exists(service, created)
    assert not exists(service, signed_in)


def test_never_touches_an_unknown_provenance(service: Service) -> None:
    user_id = add_idle(service, "LEGACY", 5_000, created_date=service.days_ago(5_001))

    result = service.run(JOB)

    assert exists(service, user_id)
    assert addressees(service) == []
    assert outcome(result, "user").skipped == 1


# Addresses that are refused for good


def test_lists_the_ids_of_a_rejected_address(service: Service) -> None:
    service.notify.reject("press@example.com")
    ids = [add_idle(service, name, 350, email="press@example.com") for name in ("B2C_IDAM", "PI_AAD")]

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "mail").notified == 0
    assert outcome(result, "mail").details["rejected_ids"] == sorted(map(str, ids))


def test_a_rejected_address_is_not_tried_again(service: Service) -> None:
    service.notify.reject("clerk@example.com")
    add_idle(service, "CFT_IDAM", 125, email="clerk@example.com")
    send_warnings(service, 3)

    result = service.run(JOB)

    assert outcome(result, "mail").matched == 0


def test_a_rejected_address_counts_as_warned_from_the_rejection_on(service: Service) -> None:
    service.notify.reject("clerk@example.com")
    user_id = add_deletable(service, email="clerk@example.com")

    service.run(JOB)

    assert not exists(service, user_id)


def test_a_rejection_delays_the_deletion_like_a_warning(service: Service) -> None:
    service.notify.reject("clerk@example.com")
    user_id = add_idle(service, "CFT_IDAM", 400, email="clerk@example.com")
    send_warnings(service, 13)

    service.run(JOB)

    assert exists(service, user_id)


# What is kept of people


def test_forgets_the_warning_with_the_user_and_that_of_one_who_came_back(service: Service) -> None:
    came_back = add_idle(service, "CFT_IDAM", 132)
    user_id = add_deletable(service)
    sign_in(service, came_back)
    assert service.count("maintenance.sent_notice") == 2

    dry, result = service.run(JOB, dry_run=True), service.run(JOB)

    assert not exists(service, user_id)
    assert exists(service, came_back)
    assert service.count("maintenance.sent_notice") == 0
    assert outcome(dry, "notices").matched == outcome(result, "notices").deleted == 2


def test_forgets_the_warning_of_a_user_whom_somebody_else_deleted(service: Service) -> None:
    user_id = add_idle(service, "CFT_IDAM", 118)
    service.run(JOB)
    service.connection.execute('DELETE FROM "user" WHERE user_id = %s', [user_id])

    service.run(JOB)

    assert service.count("maintenance.sent_notice") == 0


def test_a_warning_that_a_deletion_waits_for_is_kept(service: Service) -> None:
    for name in ("B2C_IDAM", "PI_AAD"):
        add_idle(service, name, 350, email="press@example.com")
    service.run(JOB)

    service.run(JOB, as_of=service.as_of + timedelta(days=14))

    assert service.count("maintenance.sent_notice") == 2


def test_the_ledger_keeps_no_id_of_a_user(service: Service) -> None:
    service.notify.reject("clerk@example.com")
    ids = [add_deletable(service), add_idle(service, "CFT_IDAM", 125, email="clerk@example.com")]

    for dry_run in (True, False):
        service.run(JOB, dry_run=dry_run)

    written = str(service.rows("SELECT row(l.*)::text FROM maintenance.ledger_event l"))
    assert not any(str(user_id) in written for user_id in ids)


def test_the_rejection_of_one_address_does_not_stop_the_others(service: Service) -> None:
    service.notify.reject("clerk1@example.com")
    for number in range(3):
        add_idle(service, "CFT_IDAM", 118, email=f"clerk{number}@example.com")

    result = service.run(JOB)

    assert outcome(result, "mail").notified == 2
    assert sorted(addressees(service)) == ["clerk0@example.com", "clerk2@example.com"]


# Faults of the provider


@pytest.fixture
def broken(notify: NotifySimulator) -> NotifySimulator:
    """Return a Notify of the same key, yet to be told how it fails."""
    return NotifySimulator(api_key=notify.api_key)


FAULTS = {500: "InternalServerError", 403: "AuthError"}


@pytest.mark.parametrize("status", FAULTS)
def test_a_failing_provider_fails_the_run_after_the_rest_is_done(
    service: Service, broken: NotifySimulator, status: int
) -> None:
    warned_earlier = add_deletable(service)
    staff = add_idle(service, "SSO", 90)
    unwarned = add_idle(service, "CFT_IDAM", 500)
    with broken:
        broken.fail_next(status, FAULTS[status], "Something is wrong", times=1_000)
        result = run_impatiently(service, broken)

    assert result.status is Status.FAILED
    assert outcome(result, "mail").failed == 1
    assert outcome(result, "user").deleted == 2
    assert not exists(service, warned_earlier)
    assert not exists(service, staff)
    assert exists(service, unwarned)


@pytest.mark.parametrize("status", FAULTS)
def test_the_run_after_a_failure_sends_what_was_not_sent(
    service: Service, broken: NotifySimulator, status: int
) -> None:
    user_id = add_idle(service, "CFT_IDAM", 500)
    with broken:
        broken.fail_next(status, FAULTS[status], "Something is wrong", times=1_000)
        run_impatiently(service, broken)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert addressees(service) == [address(service, user_id)]
    assert exists(service, user_id)


def test_a_failure_that_has_passed_is_sent_once(service: Service) -> None:
    user_id = add_idle(service, "CFT_IDAM", 118)
    service.notify.fail_next(500, "InternalServerError", "Something is wrong")

    result = run_impatiently(service)

    assert result.status is Status.SUCCESS
    assert addressees(service) == [address(service, user_id)]


def test_one_failing_mail_does_not_stop_the_others(service: Service) -> None:
    ids = [add_idle(service, "CFT_IDAM", 118) for _ in range(3)]
    service.notify.fail_next(400, "BadRequestError", "Missing personalisation: colour")

    result = service.run(JOB)
    after = service.run(JOB)

    assert result.status is Status.FAILED
    assert (outcome(result, "mail").notified, outcome(result, "mail").failed) == (2, 1)
    assert after.status is Status.SUCCESS
    assert sorted(addressees(service)) == sorted(address(service, user_id) for user_id in ids)


def test_a_provider_that_hangs_fails_the_run_and_deletes_nobody_unwarned(
    service: Service, broken: NotifySimulator
) -> None:
    staff = add_idle(service, "SSO", 90)
    unwarned = add_idle(service, "CFT_IDAM", 500)
    with broken:
        broken.hang_next(60, times=1_000)
        result = run_impatiently(service, broken, timeout=0.2)

    assert result.status is Status.FAILED
    assert not exists(service, staff)
    assert exists(service, unwarned)


def test_a_mail_that_a_hanging_provider_did_not_take_goes_out_by_the_next_run(
    service: Service, broken: NotifySimulator
) -> None:
    user_id = add_idle(service, "CFT_IDAM", 118)
    with broken:
        broken.hang_next(60, times=1_000)
        run_impatiently(service, broken, timeout=0.2)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert addressees(service) == [address(service, user_id)]


def test_a_mail_taken_without_an_answer_is_looked_up_and_not_sent_again(service: Service) -> None:
    add_idle(service, "CFT_IDAM", 118)
    service.notify.close_next(after_taking=True)
    service.notify.close_next(2)
    unknown = service.run(JOB)

    result = service.run(JOB)

    assert unknown.status is Status.FAILED
    assert result.status is Status.SUCCESS
    assert len(addressees(service)) == 1


def test_a_mail_taken_by_a_hanging_provider_is_sent_once(service: Service) -> None:
    add_idle(service, "CFT_IDAM", 118)
    service.notify.hang_next(60, after_taking=True)

    # The mail that was taken is looked up, and that answer must come in time.
    run_impatiently(service, timeout=1.0)
    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert len(addressees(service)) == 1


def claim(service: Service, user_id: uuid.UUID, *, idle_days: int, reference: str) -> None:
    """Leave a warning as a run leaves it that was killed before it heard of the outcome."""
    service.insert(
        "maintenance.sent_notice",
        job=JOB,
        subject_id=str(user_id),
        kind="cft_warning",
        period_start=(service.as_of - timedelta(days=idle_days)).date(),
        as_of=service.as_of,
        status="claimed",
        reference=reference,
        run_id="killed",
    )


def take(service: Service, user_id: uuid.UUID, reference: str) -> None:
    """Let the provider take a mail of this reference."""
    keys = dict.fromkeys(("full_name", "last_signed_in_date", "cft_sign_in_link", "crime_sign_in_link"), "x")
    message = Message(
        recipient=address(service, user_id), template="cft_warning", personalisation=keys, reference=reference
    )
    assert ImpatientResources("CATH", service.environ).mailer().send(message).delivery is Delivery.SENT


def test_a_claim_of_a_killed_run_whose_mail_was_taken_is_confirmed(service: Service) -> None:
    user_id = add_idle(service, "CFT_IDAM", 118)
    claim(service, user_id, idle_days=118, reference="the-killed-run")
    take(service, user_id, "the-killed-run")

    result = service.run(JOB)

    taken_at = datetime.fromisoformat(service.notify.sent[0].created_at)
    assert result.status is Status.SUCCESS
    assert len(addressees(service)) == 1
    assert service.rows("SELECT status, sent_at FROM maintenance.sent_notice") == [("sent", taken_at)]


def test_a_claim_of_a_killed_run_whose_mail_was_not_taken_is_sent(service: Service) -> None:
    user_id = add_idle(service, "CFT_IDAM", 118)
    claim(service, user_id, idle_days=118, reference="the-killed-run")

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert addressees(service) == [address(service, user_id)]
    assert service.rows("SELECT status FROM maintenance.sent_notice") == [("sent",)]


def test_a_claim_alone_is_no_warning(service: Service, broken: NotifySimulator) -> None:
    user_id = add_idle(service, "CFT_IDAM", 500)
    claim(service, user_id, idle_days=500, reference="the-killed-run")
    service.connection.execute("UPDATE maintenance.sent_notice SET sent_at = %s", [service.days_ago(100)])
    with broken:
        broken.fail_next(403, "AuthError", "Invalid token", times=1_000)
        result = run_impatiently(service, broken)

    assert result.status is Status.FAILED
    assert exists(service, user_id)


# Configuration


def test_without_a_key_warnings_are_counted_as_undelivered(service: Service) -> None:
    del service.environ["CATH_NOTIFY_API_KEY"]
    unwarned = add_idle(service, "CFT_IDAM", 500)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "mail").undelivered == 1
    assert outcome(result, "mail").notified == 0
    assert any("CATH_NOTIFY_API_KEY" in note for note in result.notes)
    assert exists(service, unwarned)


def test_a_warning_never_delivered_is_no_warning(service: Service) -> None:
    key = service.environ.pop("CATH_NOTIFY_API_KEY")
    user_id = add_idle(service, "CFT_IDAM", 200)
    send_warnings(service, 50)
    service.environ["CATH_NOTIFY_API_KEY"] = key

    result = service.run(JOB)

    assert addressees(service) == [address(service, user_id)]
    assert outcome(result, "user").deleted == 0
    assert exists(service, user_id)


def test_without_a_key_users_warned_earlier_and_staff_are_deleted(service: Service) -> None:
    warned = add_deletable(service)
    staff = add_idle(service, "SSO", 90)
    for name in [name for name in service.environ if name.startswith("CATH_NOTIFY_")]:
        del service.environ[name]

    result = service.run(JOB)

    assert outcome(result, "user").deleted == 2
    assert not exists(service, warned)
    assert not exists(service, staff)


@pytest.mark.parametrize(
    ("provenance", "variable"),
    [
        ("B2C_IDAM", "CATH_NOTIFY_TEMPLATE_MEDIA_WARNING"),
        ("PI_AAD", "CATH_MEDIA_VERIFICATION_LINK"),
        ("CFT_IDAM", "CATH_NOTIFY_TEMPLATE_CFT_WARNING"),
        ("CRIME_IDAM", "CATH_NOTIFY_TEMPLATE_CRIME_WARNING"),
        ("CRIME_IDAM", "CATH_CFT_SIGN_IN_LINK"),
    ],
)
def test_a_missing_variable_of_a_due_warning_ends_the_run_before_anything_is_done(
    service: Service, provenance: str, variable: str
) -> None:
    for name in WARNED:
        add_idle(service, name, 350)
    staff = add_idle(service, "SSO", 90)
    del service.environ[variable]

    result = service.run(JOB)

    assert result.status is not Status.SUCCESS
    assert variable in (result.error or "")
    assert addressees(service) == []
    assert exists(service, staff)


def test_a_template_is_not_needed_where_no_warning_is_due(service: Service) -> None:
    staff = add_idle(service, "SSO", 90)
    for name in TEMPLATES:
        del service.environ[f"CATH_NOTIFY_TEMPLATE_{name.upper()}"]

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert not exists(service, staff)


# What goes along


def test_counts_what_a_deleted_user_takes_along(service: Service) -> None:
    user_id = add_idle(service, "SSO", 90)
    for _ in range(2):
        subscription_id = service.add_subscription(user_id)
        for _ in range(3):
            service.add_notification(subscription_id)
    service.insert(
        "subscription_list_type",
        subscription_list_type_id=uuid.uuid4(),
        user_id=user_id,
        list_type_ids=[1],
        list_language=["ENGLISH"],
    )

    result = service.run(JOB)

    deleted = {item.target: item.deleted for item in result.outcomes if item.deleted}
    assert deleted == {"user": 1, "subscription": 2, "subscription_list_type": 1, "notification_audit_log": 6}
    assert service.count("subscription") == 0
    assert service.count("subscription_list_type") == 0
    assert service.count("notification_audit_log") == 0


def test_keeps_what_belongs_to_others(service: Service) -> None:
    add_idle(service, "SSO", 90)
    subscription_id = service.add_subscription(service.add_user())
    service.add_notification(subscription_id)

    result = service.run(JOB)

    assert outcome(result, "user").deleted == 1
    assert service.count("subscription") == 1
    assert service.count("notification_audit_log") == 1


def test_says_how_many_accounts_stay_at_identity_providers(service: Service) -> None:
    for _ in range(2):
        add_idle(service, "SSO", 90)

    result = service.run(JOB)

    assert outcome(result, "identity_accounts").kept == 2


# Runs


def test_does_nothing_to_an_empty_table(service: Service) -> None:
    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert not any(count for item in result.outcomes for count in item.counts().values())
    assert outcome(result, "user").rows_left == 0


def test_deletes_in_more_than_one_batch(service: Service) -> None:
    service.connection.execute(
        'INSERT INTO "user" (user_id, email, user_provenance, user_provenance_id, role, last_signed_in_date)'
        " SELECT gen_random_uuid(), 'p' || n || '@example.com', 'SSO', n, 'INTERNAL_ADMIN_LOCAL', %s"
        " FROM generate_series(1, 500) AS n",
        [service.days_ago(90)],
    )

    result = service.run(JOB)

    assert outcome(result, "user").deleted == 500
    assert outcome(result, "user").batches > 1
    assert service.count('"user"') == 0


def test_twins_in_different_batches_go_together(service: Service) -> None:
    service.connection.execute(
        'INSERT INTO "user" (user_id, email, user_provenance, user_provenance_id, role, last_signed_in_date)'
        " SELECT gen_random_uuid(), 'p' || n || '@example.com', p, p || n, 'VERIFIED',"
        " CASE p WHEN 'PI_AAD' THEN %s ELSE %s END"
        " FROM unnest(ARRAY['B2C_IDAM', 'PI_AAD']) AS p, generate_series(1, 20) AS n",
        [service.days_ago(365), service.days_ago(700)],
    )
    send_warnings(service, 15)

    result = service.run(JOB)

    assert len(addressees(service)) == 20
    assert outcome(result, "user").deleted == 40


def test_a_dry_run_says_what_the_real_one_does_and_does_nothing(service: Service) -> None:
    warned = add_deletable(service)
    service.add_notification(service.add_subscription(warned))
    add_idle(service, "SSO", 90)
    add_idle(service, "SSO", 95, role="SYSTEM_ADMIN")
    add_idle(service, "LEGACY", 900)
    add_idle(service, "B2C_IDAM", 350, email="press@example.com")
    add_idle(service, "PI_AAD", 400, email="PRESS@example.com")
    before = service.rows("SELECT * FROM maintenance.sent_notice")
    sent = len(addressees(service))

    dry = service.run(JOB, dry_run=True)

    assert dry.status is Status.SUCCESS
    assert service.count('"user"') == 6
    assert service.rows("SELECT * FROM maintenance.sent_notice") == before
    assert len(addressees(service)) == sent
    assert not any(getattr(item, name) for item in dry.outcomes for name in COUNTS if name != "matched")
    real = service.run(JOB)
    assert {item.target: item.matched for item in dry.outcomes if item.matched} == {
        item.target: item.deleted + item.notified for item in real.outcomes if item.deleted + item.notified
    }
    assert outcome(dry, "user").matched == 2
    assert outcome(dry, "mail").matched == 1


def test_a_second_run_changes_and_sends_nothing(service: Service) -> None:
    add_deletable(service)
    add_idle(service, "SSO", 90)
    add_idle(service, "CFT_IDAM", 118)
    service.run(JOB)
    notices, sent = service.rows("SELECT * FROM maintenance.sent_notice ORDER BY subject_id"), addressees(service)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert not any(item.changed or item.matched for item in result.outcomes)
    assert addressees(service) == sent
    assert service.rows("SELECT * FROM maintenance.sent_notice ORDER BY subject_id") == notices


def test_max_rows_stops_cleanly_and_says_so(service: Service) -> None:
    for _ in range(3):
        add_idle(service, "SSO", 90)

    result = service.run(JOB, max_rows=2)

    assert result.status is Status.SUCCESS
    assert outcome(result, "user").deleted == 2
    assert any("max_rows" in note for note in result.notes)
    assert service.count('"user"') == 1


def add_many_staff(service: Service, days: int) -> None:
    service.connection.execute(
        'INSERT INTO "user" (user_id, email, user_provenance, user_provenance_id, role, last_signed_in_date)'
        " SELECT gen_random_uuid(), 'p' || n || '@example.com', 'SSO', n, 'INTERNAL_ADMIN_LOCAL', %s"
        " FROM generate_series(1, 10001) AS n",
        [service.days_ago(days)],
    )


def test_refuses_to_delete_most_users_and_sends_nothing(service: Service) -> None:
    add_many_staff(service, 90)
    add_idle(service, "CFT_IDAM", 118)

    result = service.run(JOB)

    assert result.status is Status.REFUSED
    assert "10,001" in (result.error or "")
    assert "allow_large" in (result.error or "")
    assert service.count('"user"') == 10_002
    assert addressees(service) == []


def test_a_dry_run_says_that_the_real_one_would_be_refused(service: Service) -> None:
    add_many_staff(service, 90)

    result = service.run(JOB, dry_run=True)

    assert result.status is Status.SUCCESS
    assert result.would_refuse is not None
    assert outcome(result, "user").matched == 10_001


def test_refuses_to_take_most_subscriptions_along(service: Service) -> None:
    user_id = add_idle(service, "SSO", 90)
    service.connection.execute(
        "INSERT INTO subscription (subscription_id, user_id, search_type, search_value)"
        " SELECT gen_random_uuid(), %s, 'CASE_NUMBER', n FROM generate_series(1, 10001) AS n",
        [user_id],
    )

    result = service.run(JOB)

    assert result.status is Status.REFUSED
    assert exists(service, user_id)


def test_allow_large_deletes_most_subscriptions(service: Service) -> None:
    user_id = add_idle(service, "SSO", 90)
    service.connection.execute(
        "INSERT INTO subscription (subscription_id, user_id, search_type, search_value)"
        " SELECT gen_random_uuid(), %s, 'CASE_NUMBER', n FROM generate_series(1, 10001) AS n",
        [user_id],
    )

    result = service.run(JOB, allow_large=True)

    assert outcome(result, "subscription").deleted == 10_001
    assert not exists(service, user_id)


def test_the_ledger_tells_of_every_table(service: Service) -> None:
    user_id = add_idle(service, "SSO", 90)
    service.add_subscription(user_id)
    add_idle(service, "CFT_IDAM", 118)

    service.run(JOB, run_id="the-run")

    rows = service.rows(
        "SELECT table_name, deleted, notified, outcome, dry_run FROM maintenance.purge_ledger WHERE run_id = 'the-run'"
    )
    assert {row for row in rows if row[0] != "identity_accounts"} == {
        ("user", 1, 0, "success", False),
        ("subscription", 1, 0, "success", False),
        ("subscription_list_type", 0, 0, "success", False),
        ("notification_audit_log", 0, 0, "success", False),
        ("mail", 0, 1, "success", False),
    }


def test_the_ledger_tells_of_a_dry_run(service: Service) -> None:
    add_idle(service, "SSO", 90)

    service.run(JOB, run_id="the-run", dry_run=True)

    assert service.rows(
        "SELECT matched, deleted, dry_run FROM maintenance.purge_ledger"
        " WHERE run_id = 'the-run' AND table_name = 'user'"
    ) == [(1, 0, True)]


# Personal data


@pytest.mark.parametrize("fault", ["none", "rejected", "quoting", "no key", "dry run"])
def test_no_address_and_no_name_is_told_to_anyone_else(service: Service, fault: str) -> None:
    service.reporter = SilentReporter()
    person: dict[str, Any] = {"email": "grace.hopper@example.com", "first_name": "Grace", "surname": "Hopper"}
    add_deletable(service, "CRIME_IDAM", **person)
    add_idle(service, "CFT_IDAM", 500, **person)
    if fault == "rejected":
        service.notify.reject(person["email"])
    if fault == "quoting":
        service.notify.fail_next(400, "BadRequestError", "Cannot send to Grace Hopper <grace.hopper@example.com>")
    if fault == "no key":
        del service.environ["CATH_NOTIFY_API_KEY"]

    result = service.run(JOB, dry_run=fault == "dry run")

    said = everything_said(service, result).lower()
    assert outcome(result, "mail").matched == 1
    assert not [word for word in ("grace", "hopper", "example.com") if word in said]


# Other sessions


def test_a_user_who_signs_in_while_the_batch_waits_is_kept(service: Service) -> None:
    rescued = add_deletable(service)
    subscription_id = service.add_subscription(rescued)
    other = add_idle(service, "SSO", 90)

    result = service.run_beside(JOB, (SIGN_IN, [service.days_ago(0), rescued]))

    assert result.status is Status.SUCCESS
    assert outcome(result, "user").deleted == 1
    assert exists(service, rescued)
    assert not exists(service, other)
    assert service.count("subscription", f"subscription_id = '{subscription_id}'") == 1


def test_a_twin_who_signs_in_while_the_batch_waits_keeps_both(service: Service) -> None:
    twin = add_idle(service, "PI_AAD", 700, email="PRESS@example.com")
    idle = add_deletable(service, "B2C_IDAM", email="press@example.com")

    result = service.run_beside(JOB, (SIGN_IN, [service.days_ago(0), twin]))

    assert result.status is Status.SUCCESS
    assert outcome(result, "user").deleted == 0
    assert exists(service, idle)
    assert exists(service, twin)


def test_a_twin_who_joins_while_the_batch_waits_keeps_the_other(service: Service) -> None:
    idle = add_deletable(service, "B2C_IDAM", email="press@example.com")
    row = [uuid.uuid4(), "Press@example.com", "PI_AAD", "PI_AAD:new", "VERIFIED", service.days_ago(0)]

    insert = (
        'INSERT INTO "user" (user_id, email, user_provenance, user_provenance_id, role, created_date)'
        " VALUES (%s, %s, %s, %s, %s, %s)"
    )
    service.run_beside(
        JOB,
        (insert, row),
        ('SELECT FROM "user" WHERE user_id = %s FOR UPDATE', [idle]),
    )

    assert exists(service, idle)


def test_an_idle_row_that_takes_an_active_address_while_the_batch_waits_is_kept(service: Service) -> None:
    add_idle(service, "PI_AAD", 0, email="active@example.com")
    idle = add_deletable(service, "B2C_IDAM", email="press@example.com")

    service.run_beside(JOB, ('UPDATE "user" SET email = %s WHERE user_id = %s', ["Active@example.com", idle]))

    assert exists(service, idle)


def test_keeps_who_became_the_last_administrator_while_the_batch_waits(service: Service) -> None:
    leaving = add_idle(service, "SSO", 10, role="SYSTEM_ADMIN")
    idle = add_idle(service, "SSO", 100, role="SYSTEM_ADMIN")

    result = service.run_beside(JOB, ('DELETE FROM "user" WHERE user_id = %s', [leaving]))

    assert result.status is Status.SUCCESS
    assert exists(service, idle)


def test_a_user_deleted_by_another_session_meanwhile_is_no_failure(service: Service) -> None:
    gone = add_deletable(service)
    other = add_idle(service, "SSO", 90)

    result = service.run_beside(JOB, ('DELETE FROM "user" WHERE user_id = %s', [gone]))

    assert result.status is Status.SUCCESS
    assert outcome(result, "user").deleted == 1
    assert not exists(service, other)


def test_a_subscription_added_while_the_batch_waits_goes_along(service: Service) -> None:
    user_id = add_idle(service, "SSO", 90)

    result = service.run_beside(
        JOB,
        (
            "INSERT INTO subscription (subscription_id, user_id, search_type, search_value) VALUES (%s, %s, %s, %s)",
            [uuid.uuid4(), user_id, "CASE_NUMBER", "1"],
        ),
    )

    assert result.status is Status.SUCCESS
    assert outcome(result, "subscription").deleted == 1
    assert not exists(service, user_id)


def test_the_period_of_a_warning_is_the_last_day_of_activity(service: Service) -> None:
    user_id = add_idle(service, "CFT_IDAM", 118, LAST_MOMENT)

    service.run(JOB)

    expected = service.as_of.date() - timedelta(days=118)
    assert service.rows("SELECT job, subject_id, period_start, status FROM maintenance.sent_notice") == [
        (JOB, str(user_id), expected, "sent")
    ]
