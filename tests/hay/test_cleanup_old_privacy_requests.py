"""Privacy requests: what has run out is ended, the person is taken out of what ended long ago, promises are kept."""

from datetime import timedelta
from typing import Any

from cath_dagster.core.model.outcome import RunResult, Status
from tests.hay.hay import Hay
from tests.support.maintained import outcome

JOB = "cleanup_old_privacy_requests"
PLACEHOLDER = "minimized@privacy.invalid"
MOMENT = timedelta(microseconds=1)
WHO = {
    "identifier_type": "email",
    "identifier_value": "somebody@example.org",
    "ip_address": "192.0.2.7",
    "user_agent": "a browser",
    "download_ip_address": "192.0.2.8",
    "verification_token_hash": "hash",
    "error_message": "somebody@example.org was not found",
    "metadata": {"exportUrl": "/srv/hay/exports/x.zip", "downloadToken": "made up"},
}


def details(result: RunResult) -> dict[str, Any]:
    return dict(outcome(result, "privacy_requests").details)


def test_ends_what_has_run_out_and_never_an_erasure(hay: Hay) -> None:
    """The service ends an unconfirmed request only when somebody comes with its token, and then not even that lasts."""
    pending: dict[str, Any] = {"status": "pending_verification", "verification_token_hash": "hash"}
    late, day = hay.ago(hours=1), hay.ago(hours=24)
    expected = {
        ("expired", "unconfirmed"): hay.add_request(**pending, verification_expires_at=late - MOMENT),
        ("pending_verification", "just so long"): hay.add_request(**pending, verification_expires_at=late),
        ("pending_verification", "without an end"): hay.add_request(**pending),
        ("failed", "a stuck export"): hay.add_request(status="processing", updated_at=day - MOMENT),
        ("failed", "a confirmed export"): hay.add_request(status="verified", updated_at=day - MOMENT),
        ("processing", "an export at work"): hay.add_request(status="processing", updated_at=day),
        ("processing", "a stuck erasure"): hay.add_request(
            type="deletion", status="processing", updated_at=day - MOMENT
        ),
        ("verified", "a promised erasure"): hay.add_request(
            type="deletion", status="verified", updated_at=day - MOMENT
        ),
    }
    before = hay.rows("SELECT * FROM privacy_requests WHERE type = 'deletion' ORDER BY id")

    plan = hay.run(JOB, dry_run=True)
    result = hay.run(JOB)
    again = hay.run(JOB)

    found = hay.column("privacy_requests", "status")
    assert {name: found[key] for name, key in expected.items()} == {name: name[0] for name in expected}
    assert hay.rows("SELECT * FROM privacy_requests WHERE type = 'deletion' ORDER BY id") == before
    assert hay.column("privacy_requests", "verification_token_hash")[expected["expired", "unconfirmed"]] is None
    failed = hay.rows(
        "SELECT completed_at IS NOT NULL, error_message IS NOT NULL FROM privacy_requests WHERE status = 'failed'"
    )
    assert failed == [(True, True)] * 2
    counted = {"expired": 1, "stuck_exports": 2, "minimised": 0, "held": 0}
    assert (details(plan), details(result) | counted) == (counted, details(result))
    assert outcome(plan, "privacy_requests").matched == outcome(result, "privacy_requests").updated == 3
    checks = {check.check: (check.passed, len(check.subjects)) for check in result.checks}
    assert checks == {"no_stuck_erasure": (False, 2), "answered_in_time": (False, 3)}
    assert (result.status, again.changed) == (Status.SUCCESS, 0)


def test_takes_the_person_out_of_what_ended_long_ago_and_keeps_the_proof(hay: Hay) -> None:
    tenant = hay.add_tenant()
    held, other = hay.add_customer(tenant), hay.add_customer(tenant)
    hay.add_conversation(tenant, customer_id=held, legal_hold=True)
    hay.add_conversation(tenant, customer_id=other)
    hay.add_conversation(tenant, customer_id=None, legal_hold=True)
    edge = hay.ago(days=90)
    old: dict[str, Any] = {"updated_at": edge - MOMENT, **WHO}
    goes = {
        "completed": hay.add_request(**{**old, "updated_at": hay.ago(days=1), "completed_at": edge - MOMENT}),
        "failed": hay.add_request(status="failed", **old),
        "expired, by its last change": hay.add_request(status="expired", **old),
        "cancelled": hay.add_request(status="cancelled", **old),
        "of a customer": hay.add_request(customer=other, **old),
        "an erasure that was done": hay.add_request(type="deletion", **old),
        "without metadata": hay.add_request(**{**old, "metadata": None}),
    }
    stays = {
        "just so old": hay.add_request(**{**old, "updated_at": edge}),
        "completed lately": hay.add_request(**old, completed_at=edge),
        "open": hay.add_request(type="deletion", status="processing", **old),
        "of a customer with a held conversation": hay.add_request(customer=held, **old),
    }

    plan = hay.run(JOB, dry_run=True)
    result = hay.run(JOB)
    again = hay.run(JOB)

    emails = hay.column("privacy_requests", "email")
    assert {name for name, key in goes.items() if emails[key] != PLACEHOLDER} == set()
    assert {name for name, key in stays.items() if emails[key] == PLACEHOLDER} == set()
    names = [name for name in WHO if name not in ("metadata", "identifier_type")]
    left = hay.rows(f"SELECT {', '.join(names)} FROM privacy_requests WHERE email = %s", PLACEHOLDER)
    assert set(left) == {(None,) * len(names)}
    assert {
        tuple(value) for (value,) in hay.rows("SELECT metadata FROM privacy_requests WHERE email = %s", PLACEHOLDER)
    } == {("minimizedAt",)}
    assert hay.count(
        "privacy_requests", f"email = '{PLACEHOLDER}' AND (customer_id IS NOT NULL) = (subject_type = 'customer')"
    ) == len(goes)
    assert (details(plan)["minimised"], details(result)["minimised"]) == (len(goes), len(goes))
    assert (outcome(result, "privacy_requests").kept, outcome(again, "privacy_requests").kept) == (1, 1)
    assert again.changed == 0


def test_deletes_on_request_what_is_as_old(hay: Hay) -> None:
    tenant = hay.add_tenant()
    held = hay.add_customer(tenant)
    hay.add_conversation(tenant, customer_id=held, legal_hold=True)
    hay.add_request(updated_at=hay.ago(days=100))
    kept = {
        hay.add_request(customer=held, updated_at=hay.ago(days=100)),
        hay.add_request(updated_at=hay.ago(days=1), completed_at=hay.ago(days=1)),
    }

    plan, result = hay.run(JOB, dry_run=True, mode="delete"), hay.run(JOB, mode="delete")

    assert set(hay.column("privacy_requests", "id")) == kept
    assert (outcome(plan, "privacy_requests").matched, outcome(result, "privacy_requests").deleted) == (1, 1)
    assert outcome(result, "privacy_requests").kept == 1


def test_a_hold_that_is_set_while_the_run_waits_keeps_the_request_whole(hay: Hay) -> None:
    tenant = hay.add_tenant()
    customer = hay.add_customer(tenant)
    hay.add_conversation(tenant, customer_id=customer)
    hay.add_request(customer=customer)

    result = hay.run_beside(JOB, ("UPDATE conversations SET legal_hold = true", []))

    assert (result.error, hay.count("privacy_requests", f"email <> '{PLACEHOLDER}'")) == (None, 1)


def test_an_empty_table_is_no_failure_and_many_are_done_in_several_batches(hay: Hay) -> None:
    assert hay.run(JOB).status is Status.SUCCESS
    user = hay.add_user()
    hay.connection.execute(
        "INSERT INTO privacy_requests (email, type, status, user_id, updated_at)"
        " SELECT 'x@example.org', 'export', 'expired', %s, %s FROM generate_series(1, 300)",
        [user, hay.ago(days=91)],
    )

    some, rest = hay.run(JOB, max_rows=100), hay.run(JOB)

    assert (some.changed, rest.changed) == (100, 200)
    assert outcome(rest, "privacy_requests").batches > 1
