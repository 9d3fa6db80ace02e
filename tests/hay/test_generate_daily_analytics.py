"""A row for each tenant and UTC day, counted while the messages are there and never after they are gone."""

import uuid
from datetime import datetime
from typing import Any

from cath_dagster.core.model.outcome import Status
from tests.hay.hay import Hay
from tests.support.maintained import outcome

JOB = "generate_daily_analytics"
TYPES = ("Customer", "System", "HumanAgent", "BotAgent", "ToolCall", "ToolResponse", "Document", "Playbook", "Tool")


def at(day: int, hour: int = 12, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute)


def counted(hay: Hay, day: int) -> dict[uuid.UUID, tuple[Any, ...]]:
    query = (
        "SELECT organization_id, conversations, resolved, resolution_rate, messages, messages_by_type, sentiment"
        " FROM maintenance.hay_daily_analytics WHERE day = %s"
    )
    return {row[0]: row[1:] for row in hay.rows(query, at(day).date())}


def test_counts_conversations_of_the_day_what_was_said_in_them_and_how(hay: Hay) -> None:
    tenant, silent, young = hay.add_tenant(), hay.add_tenant(), hay.add_tenant(created_at=hay.as_of)
    first = hay.add_conversation(tenant, status="resolved", created_at=at(17, 0))
    hay.add_conversation(tenant, status="closed", created_at=at(17, 23, 59))
    hay.add_conversation(tenant, status="resolved", created_at=at(17))
    for day, hour in ((16, 23), (18, 0)):
        hay.add_message(hay.add_conversation(tenant, status="resolved", created_at=at(day, hour)))
    for kind, sentiment in (
        *(("Customer", each) for each in ("positive", "negative", "negative", None)),
        *(("BotAgent", "positive"), ("Tool", None)),
    ):
        # Of the conversation's day, whenever they came.
        hay.add_message(first, type=kind, sentiment=sentiment, created_at=at(18))

    result = hay.run(JOB, partition="2026-11-17")

    by_type = dict.fromkeys(TYPES, 0)
    nothing = dict.fromkeys(("positive", "neutral", "negative"), 0)
    assert counted(hay, 17) == {
        tenant: (
            3,
            2,
            100 * 2 / 3,
            6,
            by_type | {"Customer": 4, "BotAgent": 1, "Tool": 1},
            nothing | {"positive": 1, "negative": 2},
        ),
        silent: (0, 0, None, 0, by_type, nothing),
    }
    assert young not in counted(hay, 17)
    assert (result.status, outcome(result, "hay_daily_analytics/2026-11-17").updated) == (Status.SUCCESS, 2)
    assert counted(hay, 16) == {}


def test_without_a_day_it_counts_yesterday_and_the_two_before(hay: Hay) -> None:
    tenant = hay.add_tenant()
    conversation = hay.add_conversation(tenant, status="open", created_at=at(16))

    plan = hay.run(JOB, dry_run=True)
    assert hay.count("maintenance.hay_daily_analytics") == 0
    first = hay.run(JOB)
    before = hay.rows("SELECT * FROM maintenance.hay_daily_analytics ORDER BY day")
    again = hay.run(JOB)

    days = [f"hay_daily_analytics/2026-11-{day}" for day in (17, 16, 15)]
    assert [(each.target, each.matched) for each in plan.outcomes] == [(day, 1) for day in days]
    assert [(each.target, each.updated) for each in first.outcomes] == [(day, 1) for day in days]
    assert (again.changed, hay.rows("SELECT * FROM maintenance.hay_daily_analytics ORDER BY day")) == (0, before)
    # What was resolved since is counted anew, and no other day.
    hay.connection.execute("UPDATE conversations SET status = 'resolved' WHERE id = %s", [conversation])
    assert hay.run(JOB).changed == 1
    assert counted(hay, 16)[tenant][1] == 1


def test_a_tenants_day_is_not_counted_again_once_a_conversation_of_it_was_anonymised(hay: Hay) -> None:
    tenant, other = hay.add_tenant(1), hay.add_tenant()
    for each in (tenant, other):
        hay.add_message(hay.add_conversation(each, created_at=at(15), closed_at=hay.ago(days=2)))
    hay.run(JOB)
    before = counted(hay, 15)
    hay.run("conversation_retention", allow_large=True)
    hay.add_message(hay.add_conversation(other, status="open", created_at=at(15)))

    result = hay.run(JOB)

    assert hay.count("messages") == 2
    assert counted(hay, 15)[tenant] == before[tenant]
    assert counted(hay, 15)[other][0] == 2
    assert outcome(result, "hay_daily_analytics/2026-11-15").kept == 1
    # Nor for the first time: half of a day is no count.
    hay.connection.execute("DELETE FROM maintenance.hay_daily_analytics")
    hay.run(JOB)
    assert set(counted(hay, 15)) == {other}


def test_a_day_that_is_not_over_or_none_is_refused_by_name(hay: Hay) -> None:
    for partition, says in (
        ("2026-11-18", "only a day that has ended"),
        ("2026-11-31", "no day"),
        ("20261117", "no day"),
    ):
        assert says in (hay.run(JOB, partition=partition).error or "")
    assert hay.run(JOB, partition="2026-11-17").status is Status.SUCCESS
