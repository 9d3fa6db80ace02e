"""Orphaned subscriptions, those of deletable users, and list types that are no more."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from cath_dagster.core.model.outcome import COUNTS, Status
from cath_dagster.core.purge import blast_radius
from tests.support.service import Service, outcome

JOB = "subscriptions"
LONG_GONE = 31


def subscribe(service: Service, search_value: str, search_type: str = "LOCATION_ID", **values: Any) -> uuid.UUID:
    """Add an active user's subscription, by location unless told otherwise."""
    user_id = values.pop("user_id", None) or service.add_user()
    return service.add_subscription(user_id, search_type=search_type, search_value=search_value, **values)


def subscribe_to_lists(service: Service, *list_type_ids: int, user_id: uuid.UUID | None = None) -> uuid.UUID:
    row_id: uuid.UUID = service.insert(
        "subscription_list_type",
        subscription_list_type_id=uuid.uuid4(),
        user_id=user_id or service.add_user(),
        list_type_ids=list(list_type_ids),
        list_language=["ENGLISH", "WELSH"],
    )
    return row_id


def lists_of(service: Service, row_id: uuid.UUID) -> list[int] | None:
    """Return the list types of a list-type subscription, None where the row is gone."""
    rows = service.rows("SELECT list_type_ids FROM subscription_list_type WHERE subscription_list_type_id = %s", row_id)
    return list(rows[0][0]) if rows else None


def exists(service: Service, subscription_id: uuid.UUID) -> bool:
    return bool(service.value("SELECT count(*) FROM subscription WHERE subscription_id = %s", subscription_id))


def add_idle(service: Service, provenance: str, days: int, **values: Any) -> uuid.UUID:
    """Add a user, no administrator, who was active last so many days before `as_of`."""
    return service.add_user(provenance, **{"role": "VERIFIED", "last_signed_in_date": service.days_ago(days), **values})


def send_warnings(service: Service, days_ago: int) -> None:
    """Let the warnings go out that were due so many days before `as_of`."""
    as_of = service.as_of - timedelta(days=days_ago)
    assert service.run("inactive_verification", as_of=as_of).status is Status.SUCCESS
    service.connection.execute(
        "UPDATE maintenance.sent_notice SET sent_at = %s WHERE sent_at IS NOT NULL AND as_of = %s", [as_of, as_of]
    )


# Locations


SOUND = ["7", "007", " 7", "7 ", "  07  ", "\t7\n"]
ORPHANED = {
    "empty": "",
    "blank": "  ",
    "word": "abc",
    "digits then letters": "7a",
    "letters then digits": "a7",
    "fraction": "7.5",
    "exponent": "7e3",
    "hexadecimal": "0x7",
    "underscore": "7_0",
    "inner blank": "7 7",
    "two lines": "7\n7",
    "sign alone": "-",
    "two signs": "--7",
    "not a number": "NaN",
    "infinite": "Infinity",
    "full-width digit": "\uff17",
    "quote": "7'",
    "no location": "8",
    "negative": "-7",
    "longer": "77",
    "beyond integer": "2147483648",
    "beyond bigint": "99999999999999999999",
    "very long": "9" * 2_000,
}


@pytest.mark.parametrize("value", SOUND, ids=repr)
def test_keeps_a_subscription_to_a_location(service: Service, value: str) -> None:
    service.add_location(7)
    subscription_id = subscribe(service, value)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert exists(service, subscription_id)


def test_deletes_subscriptions_to_what_is_no_location(service: Service) -> None:
    service.add_location(7)
    kinds = {subscribe(service, value): kind for kind, value in ORPHANED.items()}

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    left = [kinds[row[0]] for row in service.rows("SELECT subscription_id FROM subscription")]
    assert left == []
    assert outcome(result, "subscription").deleted == len(ORPHANED)


def test_a_number_beyond_all_numeric_types_is_an_orphan(service: Service) -> None:
    service.add_location(7)
    sound, orphan = subscribe(service, "7"), subscribe(service, "9" * 150_000)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert exists(service, sound)
    assert not exists(service, orphan)


def test_keeps_a_subscription_to_a_location_deleted_exactly_thirty_days_ago(service: Service) -> None:
    service.add_location(7, deleted_at=service.days_ago(30))
    subscription_id = subscribe(service, "7")

    service.run(JOB)

    assert exists(service, subscription_id)


def test_deletes_a_subscription_to_a_location_deleted_more_than_thirty_days_ago(service: Service) -> None:
    service.add_location(7, deleted_at=service.days_ago(30, seconds=0.001))
    subscription_id = subscribe(service, "007")

    service.run(JOB)

    assert not exists(service, subscription_id)


@pytest.mark.parametrize("search_type", ["CASE_NUMBER", "CASE_NAME"])
@pytest.mark.parametrize("value", ["no location", "8", "7"])
def test_a_subscription_to_a_case_is_never_an_orphan(service: Service, search_type: str, value: str) -> None:
    service.add_location(7, deleted_at=service.days_ago(LONG_GONE))
    subscription_id = subscribe(service, value, search_type)

    service.run(JOB)

    assert exists(service, subscription_id)


def test_an_orphan_of_a_user_leaves_the_users_other_subscriptions(service: Service) -> None:
    service.add_location(7)
    user_id = service.add_user()
    sound, orphan = subscribe(service, "7", user_id=user_id), subscribe(service, "8", user_id=user_id)

    service.run(JOB)

    assert exists(service, sound)
    assert not exists(service, orphan)
    assert service.count('"user"') == 1


def test_counts_the_notifications_of_deleted_subscriptions(service: Service) -> None:
    service.add_location(7)
    sound, orphan = subscribe(service, "7"), subscribe(service, "8")
    kept = service.add_notification(sound)
    for _ in range(3):
        service.add_notification(orphan)

    result = service.run(JOB)

    assert outcome(result, "notification_audit_log").deleted == 3
    assert service.rows("SELECT notification_id FROM notification_audit_log") == [(kept,)]


def test_takes_the_days_of_run_config(service: Service) -> None:
    service.add_location(7, deleted_at=service.days_ago(6))
    subscription_id = subscribe(service, "7")

    result = service.run(JOB, location_grace_days=5)

    assert not exists(service, subscription_id)
    assert result.settings["location_grace_days"] == 5


# Users


def test_deletes_the_subscriptions_of_a_warned_user_on_the_deletion_day(service: Service) -> None:
    service.add_location(7)
    user_id = add_idle(service, "CFT_IDAM", 132)
    send_warnings(service, 14)
    ids = [subscribe(service, "7", user_id=user_id), subscribe(service, "C-1", "CASE_NUMBER", user_id=user_id)]

    result = service.run(JOB)

    assert outcome(result, "subscription").deleted == 2
    assert not any(exists(service, subscription_id) for subscription_id in ids)
    assert service.count('"user"') == 1


def test_keeps_the_subscriptions_of_an_idle_user_who_was_not_warned(service: Service) -> None:
    subscription_id = subscribe(service, "C-1", "CASE_NUMBER", user_id=add_idle(service, "CFT_IDAM", 500))

    service.run(JOB)

    assert exists(service, subscription_id)


def test_keeps_the_subscriptions_of_a_user_warned_a_day_too_late(service: Service) -> None:
    user_id = add_idle(service, "CFT_IDAM", 500)
    send_warnings(service, 13)
    subscription_id = subscribe(service, "C-1", "CASE_NUMBER", user_id=user_id)

    service.run(JOB)

    assert exists(service, subscription_id)


def test_keeps_the_subscriptions_of_a_warned_user_who_came_back(service: Service) -> None:
    user_id = add_idle(service, "CFT_IDAM", 500)
    send_warnings(service, 200)
    subscription_id = subscribe(service, "C-1", "CASE_NUMBER", user_id=user_id)
    service.connection.execute('UPDATE "user" SET last_signed_in_date = %s', [service.days_ago(132)])

    service.run(JOB)

    assert exists(service, subscription_id)


def test_keeps_the_subscriptions_of_an_idle_row_with_an_active_twin(service: Service) -> None:
    user_id = add_idle(service, "B2C_IDAM", 400, email="press@example.com")
    send_warnings(service, 20)
    add_idle(service, "PI_AAD", 1, email="PRESS@example.com")
    subscription_id = subscribe(service, "C-1", "CASE_NUMBER", user_id=user_id)

    service.run(JOB)

    assert exists(service, subscription_id)


@pytest.mark.parametrize(("days", "is_kept"), [(89, True), (90, False)])
def test_deletes_the_subscriptions_of_staff_idle_for_ninety_days(service: Service, days: int, *, is_kept: bool) -> None:
    subscription_id = subscribe(service, "C-1", "CASE_NUMBER", user_id=add_idle(service, "SSO", days))

    service.run(JOB)

    assert exists(service, subscription_id) is is_kept


def test_keeps_the_subscriptions_of_the_last_administrator(service: Service) -> None:
    user_id = add_idle(service, "SSO", 500, role="SYSTEM_ADMIN")
    subscription_id = subscribe(service, "C-1", "CASE_NUMBER", user_id=user_id)

    service.run(JOB)

    assert exists(service, subscription_id)


def test_keeps_the_subscriptions_of_an_unknown_provenance(service: Service) -> None:
    subscription_id = subscribe(service, "C-1", "CASE_NUMBER", user_id=add_idle(service, "LEGACY", 5_000))

    service.run(JOB)

    assert exists(service, subscription_id)


@pytest.mark.parametrize(("setting", "is_kept"), [("10", False), ("11", True)])
def test_takes_the_other_jobs_days_from_its_environment(service: Service, setting: str, *, is_kept: bool) -> None:
    service.environ["CATH_INACTIVE_VERIFICATION_SSO_DELETE_DAYS"] = setting
    subscription_id = subscribe(service, "C-1", "CASE_NUMBER", user_id=add_idle(service, "SSO", 10))

    service.run(JOB)

    assert exists(service, subscription_id) is is_kept


def test_refuses_an_unusable_setting_of_the_other_job_before_anything_is_done(service: Service) -> None:
    service.environ["CATH_INACTIVE_VERIFICATION_SSO_DELETE_DAYS"] = "-1"
    subscription_id = subscribe(service, "8")

    result = service.run(JOB)

    assert result.status is not Status.SUCCESS
    assert "CATH_INACTIVE_VERIFICATION_SSO_DELETE_DAYS" in (result.error or "")
    assert exists(service, subscription_id)


def test_sends_nothing(service: Service) -> None:
    add_idle(service, "CFT_IDAM", 118)

    service.run(JOB)

    assert service.notify.sent == []


# List types


def test_takes_a_list_type_out_and_keeps_the_order_of_the_others(service: Service) -> None:
    for number in (1, 2, 4):
        service.add_list_type(number)
    service.add_list_type(3, deleted_at=service.days_ago(LONG_GONE))
    row_id = subscribe_to_lists(service, 4, 3, 1, 2)

    result = service.run(JOB)

    assert lists_of(service, row_id) == [4, 1, 2]
    assert outcome(result, "subscription_list_type").updated == 1
    assert service.value("SELECT list_language FROM subscription_list_type") == ["ENGLISH", "WELSH"]


def test_takes_an_unknown_list_type_out(service: Service) -> None:
    service.add_list_type(1)
    row_id = subscribe_to_lists(service, 99, 1, 98)

    service.run(JOB)

    assert lists_of(service, row_id) == [1]


def test_keeps_a_list_type_deleted_exactly_thirty_days_ago(service: Service) -> None:
    service.add_list_type(1, deleted_at=service.days_ago(30))
    row_id = subscribe_to_lists(service, 1)

    result = service.run(JOB)

    assert lists_of(service, row_id) == [1]
    assert outcome(result, "subscription_list_type").matched == 0


def test_takes_out_a_list_type_deleted_more_than_thirty_days_ago(service: Service) -> None:
    service.add_list_type(1, deleted_at=service.days_ago(30, seconds=0.001))
    service.add_list_type(2)
    row_id = subscribe_to_lists(service, 1, 2)

    service.run(JOB)

    assert lists_of(service, row_id) == [2]


def test_deletes_the_row_when_no_list_type_is_left(service: Service) -> None:
    service.add_list_type(1, deleted_at=service.days_ago(LONG_GONE))
    row_id = subscribe_to_lists(service, 1, 99)

    result = service.run(JOB)

    assert lists_of(service, row_id) is None
    assert outcome(result, "subscription_list_type").deleted == 1
    assert outcome(result, "subscription_list_type").updated == 0


def test_leaves_a_row_alone_that_never_had_a_list_type(service: Service) -> None:
    row_id = subscribe_to_lists(service)

    result = service.run(JOB)

    assert lists_of(service, row_id) == []
    assert outcome(result, "subscription_list_type").matched == 0


def test_leaves_a_sound_row_alone(service: Service) -> None:
    service.add_list_type(1)
    row_id = subscribe_to_lists(service, 1, 1)

    result = service.run(JOB)

    assert lists_of(service, row_id) == [1, 1]
    assert outcome(result, "subscription_list_type").matched == 0


# Runs


def test_does_nothing_to_empty_tables(service: Service) -> None:
    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert {item.target for item in result.outcomes} == {
        "subscription",
        "notification_audit_log",
        "subscription_list_type",
    }
    assert not any(count for item in result.outcomes for count in item.counts().values())


def add_many(service: Service, count: int) -> None:
    """Add one user's orphaned subscriptions."""
    service.connection.execute(
        "INSERT INTO subscription (subscription_id, user_id, search_type, search_value)"
        " SELECT gen_random_uuid(), %s, 'LOCATION_ID', n FROM generate_series(1, %s) AS n",
        [service.add_user(), count],
    )


def test_deletes_in_more_than_one_batch(service: Service) -> None:
    add_many(service, 1_000)

    result = service.run(JOB)

    assert outcome(result, "subscription").deleted == 1_000
    assert outcome(result, "subscription").batches > 1
    assert service.count("subscription") == 0


def test_changes_list_types_in_more_than_one_batch(service: Service) -> None:
    service.add_list_type(1)
    for _ in range(40):
        subscribe_to_lists(service, 99, 1)

    result = service.run(JOB)

    assert outcome(result, "subscription_list_type").updated == 40
    assert service.count("subscription_list_type", "list_type_ids = '{1}'") == 40


def add_some_of_everything(service: Service) -> None:
    """Add two orphans with a notification each, a row to be emptied, one to be changed, and what is sound."""
    service.add_location(7)
    service.add_list_type(1)
    for value in ("8", "abc", "7"):
        service.add_notification(subscribe(service, value))
    for ids in ([99], [99, 1], [1]):
        subscribe_to_lists(service, *ids)


def test_a_dry_run_says_what_the_real_one_does_and_does_nothing(service: Service) -> None:
    add_some_of_everything(service)

    dry = service.run(JOB, dry_run=True)

    assert dry.status is Status.SUCCESS
    assert service.count("subscription") == 3
    assert service.count("notification_audit_log") == 3
    assert service.count("subscription_list_type", "99 = ANY (list_type_ids)") == 2
    assert not any(getattr(item, name) for item in dry.outcomes for name in COUNTS if name != "matched")
    real = service.run(JOB)
    assert {item.target: item.matched for item in dry.outcomes} == {
        item.target: item.deleted + item.updated for item in real.outcomes
    }
    assert {item.target: item.matched for item in dry.outcomes} == {
        "subscription": 2,
        "notification_audit_log": 2,
        "subscription_list_type": 2,
    }


def test_a_second_run_finds_nothing(service: Service) -> None:
    add_some_of_everything(service)
    service.run(JOB)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert not any(item.changed or item.matched for item in result.outcomes)


def test_max_rows_counts_over_both_tables(service: Service) -> None:
    add_some_of_everything(service)

    result = service.run(JOB, max_rows=3)

    assert result.status is Status.SUCCESS
    assert sum(outcome(result, name).changed for name in ("subscription", "subscription_list_type")) == 3
    assert any("max_rows" in note for note in result.notes)
    assert service.run(JOB).status is Status.SUCCESS
    assert service.count("subscription") == 1
    assert service.count("subscription_list_type", "99 = ANY (list_type_ids)") == 0


def test_refuses_to_delete_most_subscriptions(service: Service) -> None:
    add_many(service, 10_001)
    row_id = subscribe_to_lists(service, 99)

    result = service.run(JOB)

    assert result.status is Status.REFUSED
    assert "10,001" in (result.error or "")
    assert service.count("subscription") == 10_001
    assert lists_of(service, row_id) == [99]


def test_allow_large_deletes_most_subscriptions(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blast_radius, "MIN_ROWS", 500)
    add_many(service, 501)

    refused = service.run(JOB)
    allowed = service.run(JOB, allow_large=True)

    assert refused.status is Status.REFUSED
    assert outcome(allowed, "subscription").deleted == 501
    assert service.count("subscription") == 0


def test_the_ledger_tells_of_every_table(service: Service) -> None:
    add_some_of_everything(service)

    service.run(JOB, run_id="the-run")

    rows = service.rows(
        "SELECT table_name, deleted, updated, outcome, dry_run FROM maintenance.purge_ledger WHERE run_id = 'the-run'"
    )
    assert set(rows) == {
        ("subscription", 2, 0, "success", False),
        ("notification_audit_log", 2, 0, "success", False),
        ("subscription_list_type", 1, 1, "success", False),
    }


# Other sessions


def test_a_location_restored_while_the_batch_waits_keeps_its_subscriptions(service: Service) -> None:
    service.add_location(7, deleted_at=service.days_ago(LONG_GONE))
    rescued, orphan = subscribe(service, "007"), subscribe(service, "8")

    result = service.run_beside(JOB, ("UPDATE location SET deleted_at = NULL WHERE location_id = %s", [7]))

    assert result.status is Status.SUCCESS
    assert exists(service, rescued)
    assert not exists(service, orphan)


def test_a_subscription_changed_while_the_batch_waits_is_kept(service: Service) -> None:
    service.add_location(7)
    rescued = subscribe(service, "8")

    service.run_beside(JOB, ("UPDATE subscription SET search_value = '7' WHERE subscription_id = %s", [rescued]))

    assert exists(service, rescued)


def test_a_user_who_signs_in_while_the_batch_waits_keeps_the_subscriptions(service: Service) -> None:
    user_id = add_idle(service, "SSO", 90)
    subscription_id = subscribe(service, "C-1", "CASE_NUMBER", user_id=user_id)

    service.run_beside(
        JOB, ('UPDATE "user" SET last_signed_in_date = %s WHERE user_id = %s', [service.days_ago(0), user_id])
    )

    assert exists(service, subscription_id)


def test_a_twin_who_signs_in_while_the_batch_waits_keeps_the_subscriptions(service: Service) -> None:
    user_id = add_idle(service, "B2C_IDAM", 400, email="press@example.com")
    twin = add_idle(service, "PI_AAD", 700, email="PRESS@example.com")
    send_warnings(service, 20)
    subscription_id = subscribe(service, "C-1", "CASE_NUMBER", user_id=user_id)

    service.run_beside(
        JOB, ('UPDATE "user" SET last_signed_in_date = %s WHERE user_id = %s', [service.days_ago(0), twin])
    )

    assert exists(service, subscription_id)


def test_who_became_the_last_administrator_while_the_batch_waits_keeps_the_subscriptions(service: Service) -> None:
    leaving = add_idle(service, "SSO", 10, role="SYSTEM_ADMIN")
    idle = add_idle(service, "SSO", 100, role="SYSTEM_ADMIN")
    subscription_id = subscribe(service, "C-1", "CASE_NUMBER", user_id=idle)

    service.run_beside(JOB, ('DELETE FROM "user" WHERE user_id = %s', [leaving]))

    assert exists(service, subscription_id)


REACTIVATE = "UPDATE list_types SET deleted_at = NULL WHERE id = %s"


def test_a_list_type_activated_again_while_the_batch_waits_stays(service: Service) -> None:
    service.add_list_type(1, deleted_at=service.days_ago(LONG_GONE))
    service.add_list_type(2)
    row_id = subscribe_to_lists(service, 1, 2)

    service.run_beside(
        JOB,
        (REACTIVATE, [1]),
        ("SELECT FROM subscription_list_type WHERE subscription_list_type_id = %s FOR UPDATE", [row_id]),
    )

    assert lists_of(service, row_id) == [1, 2]


def test_the_only_list_type_activated_again_while_the_batch_waits_keeps_the_row(service: Service) -> None:
    service.add_list_type(1, deleted_at=service.days_ago(LONG_GONE))
    row_id = subscribe_to_lists(service, 1)

    service.run_beside(
        JOB,
        (REACTIVATE, [1]),
        ("SELECT FROM subscription_list_type WHERE subscription_list_type_id = %s FOR UPDATE", [row_id]),
    )

    assert lists_of(service, row_id) == [1]


@pytest.mark.parametrize("list_type_ids", [[1], [1, 2]])
def test_waits_for_a_list_type_that_is_being_activated_again(service: Service, list_type_ids: list[int]) -> None:
    service.add_list_type(1, deleted_at=service.days_ago(LONG_GONE))
    service.add_list_type(2)
    row_id = subscribe_to_lists(service, *list_type_ids)

    service.run_beside(JOB, (REACTIVATE, [1]))

    assert lists_of(service, row_id) == list_type_ids


def test_a_list_subscribed_to_while_the_batch_waits_is_kept(service: Service) -> None:
    service.add_list_type(1)
    service.add_list_type(2)
    row_id = subscribe_to_lists(service, 99, 1)

    service.run_beside(
        JOB,
        (
            "UPDATE subscription_list_type SET list_type_ids = '{99,2,1}' WHERE subscription_list_type_id = %s",
            [row_id],
        ),
    )

    assert lists_of(service, row_id) == [2, 1]


def test_an_emptied_row_to_which_a_list_is_added_while_the_batch_waits_is_kept(service: Service) -> None:
    service.add_list_type(1)
    row_id = subscribe_to_lists(service, 99)

    service.run_beside(
        JOB,
        ("UPDATE subscription_list_type SET list_type_ids = '{99,1}' WHERE subscription_list_type_id = %s", [row_id]),
    )

    assert lists_of(service, row_id) == [1]
