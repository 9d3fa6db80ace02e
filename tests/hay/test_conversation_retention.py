"""Conversations past their tenant's retention are emptied, with their messages; those of others, and held ones, never."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cath_dagster.core.model.outcome import RunResult, Status
from tests.hay.hay import Hay
from tests.support.command import call
from tests.support.forked import is_killed_at
from tests.support.maintained import Change, outcome

JOB = "conversation_retention"
TITLE = "[Anonymized]"
EMPTIED = (
    *("customer_id", "public_jwk", "context", "metadata", "resolution_metadata", "orchestration_status"),
    *("last_processing_error", "stuck_reason"),
)


def anonymised(hay: Hay) -> set[uuid.UUID]:
    return {
        key for (key,) in hay.rows("SELECT id FROM conversations WHERE deleted_at IS NOT NULL AND title = %s", TITLE)
    }


def with_messages(hay: Hay) -> set[uuid.UUID]:
    return {key for (key,) in hay.rows("SELECT DISTINCT conversation_id FROM messages")}


def add_said(hay: Hay, tenant: uuid.UUID, **values: Any) -> uuid.UUID:
    """Add a conversation in which something was said."""
    conversation = hay.add_conversation(tenant, **values)
    hay.add_message(conversation)
    return conversation


def test_takes_what_is_past_its_own_tenants_policy_and_nothing_else(hay: Hay) -> None:
    """The table of cases by which the service's own job goes wrong, and the boundaries, in one run."""
    tenant, other, without = hay.add_tenant(30), hay.add_tenant(365), hay.add_tenant()
    text, disabled = hay.add_tenant("30"), hay.add_tenant(None)
    old, long = hay.ago(days=31), hay.ago(days=300)
    unended = {"closed_at": None, "ended_at": None, "last_message_at": None}
    moment = timedelta(microseconds=1)
    goes = {
        "closed a moment longer ago than kept": add_said(hay, tenant, closed_at=hay.ago(days=30) - moment),
        "resolved by itself, without closed_at": add_said(hay, tenant, status="resolved", closed_at=None, ended_at=old),
        "without an end, by its last message": add_said(hay, tenant, **{**unended, "last_message_at": old}),
        "without any of them, by its creation": add_said(hay, tenant, **unended, created_at=hay.naive_ago(days=31)),
        "without a message": hay.add_conversation(tenant),
        "of a tenant that writes its days as text": add_said(hay, text, closed_at=old),
        "anonymised, and written to meanwhile": add_said(hay, tenant, deleted_at=hay.ago(days=9), title=TITLE),
    }
    stays = {
        "closed just as long ago as kept": add_said(hay, tenant, closed_at=hay.ago(days=30)),
        "begun long ago, resolved yesterday": add_said(
            hay, tenant, status="resolved", closed_at=None, ended_at=hay.ago(days=1), created_at=hay.naive_ago(days=300)
        ),
        "held": add_said(hay, tenant, legal_hold=True),
        "held, never closed": add_said(hay, tenant, status="open", legal_hold=True, **unended),
        "open": add_said(hay, tenant, status="open", **unended),
        "waiting for a person": add_said(hay, tenant, status="pending-human", **unended),
        "taken over by a person": add_said(hay, tenant, status="human-took-over", closed_at=long),
        "of a tenant that keeps longer": add_said(hay, other, closed_at=long),
        "never closed, of a tenant that keeps longer": add_said(hay, other, status="open", **unended),
        "of a tenant without a policy": add_said(hay, without),
        "of a tenant without settings at all": add_said(hay, disabled),
    }

    plan = hay.run(JOB, dry_run=True)
    result = hay.run(JOB)

    assert (result.status, result.error) == (Status.SUCCESS, None)
    assert {name for name, key in goes.items() if key not in anonymised(hay)} == set()
    assert {name for name, key in stays.items() if key in anonymised(hay)} == set()
    assert with_messages(hay) == set(stays.values())
    assert outcome(plan, "conversations").matched == outcome(result, "conversations").updated == len(goes)
    assert outcome(result, "conversations").kept == 1
    assert outcome(plan, "messages").matched == outcome(result, "messages").deleted == len(goes) - 1
    assert hay.value("SELECT deleted_at FROM conversations WHERE id = %s", list(goes.values())[-1]) == hay.ago(days=9)


def test_empties_the_row_and_takes_what_was_said_and_made_of_it(hay: Hay) -> None:
    tenant, other, user = hay.add_tenant(30), hay.add_tenant(), hay.add_user()
    given: dict[str, Any] = {name: {"of": "a customer"} for name in EMPTIED[1:6]} | dict.fromkeys(
        EMPTIED[6:], "what went wrong"
    )
    conversation = hay.add_conversation(tenant, customer_id=hay.add_customer(tenant), **given)
    message = hay.add_message(conversation)
    hay.add(
        "message_feedback", message_id=message, organization_id=tenant, reviewer_id=user, rating="bad", comment="No"
    )
    for names in ({"conversationId": str(conversation)}, {"messageId": str(message)}):
        hay.add("embeddings", organization_id=tenant, page_content="What was said", metadata=names)
    kept = {
        hay.add("embeddings", organization_id=other, page_content="Another's", metadata={"messageId": str(message)}),
        hay.add("embeddings", organization_id=tenant, page_content="A page", metadata={"page": 1}),
        hay.add("embeddings", organization_id=tenant, page_content="A page"),
    }

    result = hay.run(JOB)

    row = hay.rows(f"SELECT title, updated_at, {', '.join(EMPTIED)} FROM conversations")[0]
    assert (row[0], *row[2:]) == (TITLE, *[None] * len(EMPTIED))
    assert row[1] > hay.naive_ago(days=1)
    assert (hay.count("messages"), hay.count("message_feedback"), hay.count("customers")) == (0, 0, 1)
    assert set(hay.column("embeddings", "id")) == kept
    told = {each.target: (each.deleted, each.updated) for each in result.outcomes}
    assert told == {"conversations": (0, 1), "messages": (1, 0), "message_feedback": (1, 0), "embeddings": (2, 0)}
    assert {name: row[3] for name, row in hay.ledger(result.run_id).items()}["embeddings"] == 2


def test_a_policy_that_is_no_number_of_days_holds_up_no_other_tenant(hay: Hay) -> None:
    wrong = {value: hay.add_tenant(value) for value in ("30 days", "0", "3651", "-1", "30.5")} | {
        "0 ": hay.add_tenant(0)
    }
    bad = {add_said(hay, tenant) for tenant in wrong.values()}
    good = add_said(hay, hay.add_tenant(3_650), days=4_000)

    result = hay.run(JOB)

    assert result.status is Status.FAILED
    assert [str(tenant) in (result.error or "") for tenant in wrong.values()] == [True] * len(wrong)
    assert anonymised(hay) == {good}
    assert with_messages(hay) == bad


def test_a_policy_may_stand_under_another_key_or_in_our_settings(hay: Hay) -> None:
    elsewhere = hay.add_tenant(settings={"maintenanceRetentionDays": 30, "retentionDays": None})
    ours, theirs = hay.add_tenant(), hay.add_tenant(30)
    gone = {add_said(hay, tenant, days=40) for tenant in (elsewhere, ours)}
    add_said(hay, theirs)

    hay.run(JOB, policy_key="maintenanceRetentionDays", tenant_days=f'{{"{ours}": 30}}')

    assert anonymised(hay) == gone


@pytest.mark.parametrize("days", ["[]", "{", '{"somebody": 30}', '{"00000000-0000-0000-0000-000000000001": 0}'])
def test_what_is_no_days_by_tenant_is_refused_by_name(hay: Hay, days: str) -> None:
    assert "tenant_days" in (hay.run(JOB, tenant_days=days).error or "")


def test_nothing_is_done_unless_the_servers_own_job_is_idle(hay: Hay) -> None:
    add_said(hay, hay.add_tenant(30))
    for said in (None, "false", "yes"):
        hay.environ.pop("HAY_RETENTION_OWNS", None)
        hay.environ |= {"HAY_RETENTION_OWNS": said} if said else {}

        plan, result = hay.run(JOB, dry_run=True), hay.run(JOB)

        assert (plan.status, outcome(plan, "conversations").matched) == (Status.SUCCESS, 1)
        assert result.status is Status.REFUSED
        assert "HAY_RETENTION_OWNS" in (result.error or "")
        assert plan.would_refuse == result.error
    assert anonymised(hay) == set()


def test_a_second_run_changes_nothing_and_an_empty_table_is_no_failure(hay: Hay) -> None:
    assert hay.run(JOB).status is Status.SUCCESS
    add_said(hay, hay.add_tenant(30))
    hay.run(JOB)
    before = hay.rows("SELECT * FROM conversations")

    again = hay.run(JOB)

    assert [each for each in again.outcomes if each.changed or each.matched] == []
    assert hay.rows("SELECT * FROM conversations") == before


def test_a_hold_that_is_set_while_the_run_waits_wins(hay: Hay) -> None:
    tenant = hay.add_tenant(30)
    kept = add_said(hay, tenant)
    gone = add_said(hay, tenant)
    hold = ("UPDATE conversations SET legal_hold = true WHERE id = %s", [kept])

    result = hay.run_beside(JOB, hold)

    assert result.error is None
    assert anonymised(hay) == {gone}
    assert with_messages(hay) == {kept}


def test_a_policy_that_is_prolonged_while_the_run_waits_wins(hay: Hay) -> None:
    tenant = hay.add_tenant(30)
    kept = add_said(hay, tenant)
    touch = ("UPDATE conversations SET cooldown_until = now() WHERE id = %s", [kept])
    prolong = ("UPDATE organizations SET settings = '{\"retentionDays\": 3650}' WHERE id = %s", [tenant])

    result = hay.run_beside(JOB, touch, then=[prolong])

    assert (result.error, anonymised(hay)) == (None, set())


def test_a_message_that_comes_in_meanwhile_is_taken_by_the_next_run(hay: Hay) -> None:
    conversation = add_said(hay, hay.add_tenant(30))
    late = (
        "INSERT INTO messages (id, conversation_id, content, type) VALUES (%s, %s, 'Late', 'Customer')",
        [uuid.uuid4(), conversation],
    )
    hold_up: Change = ("UPDATE message_feedback SET comment = comment", [])
    message = hay.rows("SELECT id FROM messages")[0][0]
    hay.add(
        "message_feedback",
        message_id=message,
        organization_id=hay.value("SELECT organization_id FROM conversations"),
        reviewer_id=hay.add_user(),
        rating="good",
    )

    first = hay.run_beside(JOB, hold_up, then=[late])

    assert (first.error, with_messages(hay)) == (None, {conversation})
    assert hay.run(JOB).error is None
    assert with_messages(hay) == set()


def test_many_go_in_several_batches_and_no_more_than_asked_for(hay: Hay) -> None:
    """As many as the service's own job binds one parameter each for, and fails above 65,535, are one array here."""
    tenant = hay.add_tenant(30)
    hay.connection.execute(
        "INSERT INTO conversations (organization_id, title, status, closed_at)"
        " SELECT %s, 'Question', 'closed', %s FROM generate_series(1, 60)",
        [tenant, hay.ago(days=31)],
    )

    some = hay.run(JOB, max_rows=10)
    rest = hay.run(JOB)

    assert (outcome(some, "conversations").updated, outcome(some, "conversations").skipped) == (10, 50)
    assert (outcome(rest, "conversations").updated, outcome(rest, "conversations").batches) == (50, 2)


def test_more_than_half_of_all_messages_are_taken_on_request_only(hay: Hay) -> None:
    conversation = hay.add_conversation(hay.add_tenant(30))
    hay.connection.execute(
        "INSERT INTO messages (conversation_id, content, type) SELECT %s, '', 'System' FROM generate_series(1, 10001)",
        [conversation],
    )

    plan, result = hay.run(JOB, dry_run=True), hay.run(JOB)

    assert result.status is Status.REFUSED
    assert "10,001 of 10,001 rows of messages" in (result.error or "")
    assert plan.would_refuse == result.error
    assert anonymised(hay) == set()
    assert outcome(hay.run(JOB, allow_large=True), "messages").deleted == 10_001


def test_one_that_the_database_refuses_holds_up_no_other(hay: Hay) -> None:
    tenant = hay.add_tenant(30)
    refused, gone = add_said(hay, tenant), add_said(hay, tenant)
    hay.connection.execute(f"ALTER TABLE conversations ADD CHECK (id <> '{refused}' OR title <> '{TITLE}')")

    result = hay.run(JOB)

    assert result.status is Status.FAILED
    assert str(refused) in (result.error or "")
    assert outcome(result, "conversations").failed == 1
    assert anonymised(hay) == {gone}
    assert with_messages(hay) == {refused}


def test_killed_anywhere_a_conversation_is_whole_or_gone_and_the_next_run_finishes(hay: Hay) -> None:
    def run() -> RunResult:
        return hay.run(JOB, conversations_per_transaction=1)

    seen = set()
    for place in itertools.count(1):
        hay.connection.execute("TRUNCATE organizations CASCADE")
        tenant = hay.add_tenant(30)
        every = {add_said(hay, tenant) for _ in range(2)}

        is_killed = is_killed_at(place, run)

        gone, whole = anonymised(hay), with_messages(hay)
        assert (gone | whole, gone & whole) == (every, set())
        seen.add(len(gone))
        assert run().error is None
        assert (anonymised(hay), with_messages(hay)) == (every, set())
        recorded = hay.value(
            "SELECT sum(updated) FROM maintenance.ledger_event WHERE kind = 'batch' AND table_name = 'conversations'"
        )
        assert recorded == 2 * place
        if not is_killed:
            break
    assert seen == {0, 1, 2}


def test_messages_come_back_where_that_was_asked_for_and_are_left_alone_then(hay: Hay) -> None:
    conversation = add_said(hay, hay.add_tenant(30))
    hay.as_of = datetime.now(UTC)

    plain = hay.run(JOB, undo_days=30)
    run = hay.run(JOB, undo_days=30, archive_personal_data_because="a trial")
    restored = call(hay.environ, "restore", run.run_id)
    again = hay.run(JOB)

    assert (plain.status, "hold personal data" in (plain.error or "")) == (Status.REFUSED, True)
    assert (restored.returncode, restored.stderr) == (0, "")
    assert (again.error, with_messages(hay), anonymised(hay)) == (None, {conversation}, {conversation})
