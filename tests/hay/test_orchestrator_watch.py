"""What the service's orchestrator leaves standing is told by tenant, and nothing is written."""

from typing import Any

from cath_dagster.core.model.outcome import Status
from tests.hay.hay import Hay

JOB = "orchestrator_watch"
OPEN: dict[str, Any] = {"status": "open", "closed_at": None}


def test_tells_conversations_that_stand_still_by_tenant(hay: Hay) -> None:
    tenant, other, well = (hay.add_tenant() for _ in range(3))
    hay.add_conversation(tenant, **OPEN, is_stuck=True)
    hay.add_conversation(
        tenant, **{**OPEN, "status": "processing"}, processing_locked_until=hay.ago(minutes=5, seconds=1)
    )
    hay.add_conversation(other, **OPEN, recovery_attempts=5)
    hay.add_conversation(other, **OPEN, needs_processing=True, last_message_at=hay.ago(minutes=10, seconds=1))
    hay.add_conversation(other, **OPEN, needs_processing=True)
    hay.add_conversation(well, **OPEN, is_stuck=None, recovery_attempts=None)
    hay.add_conversation(well, **{**OPEN, "status": "processing"}, processing_locked_until=hay.ago(minutes=5))
    hay.add_conversation(well, **OPEN, recovery_attempts=4)
    hay.add_conversation(well, **OPEN, needs_processing=True, last_message_at=hay.ago(minutes=10))
    hay.add_conversation(well, is_stuck=True)
    hay.add_conversation(well, **OPEN, is_stuck=True, deleted_at=hay.ago(days=1))
    before = hay.rows("SELECT * FROM conversations ORDER BY id")

    result, gated = hay.run(JOB), hay.run(JOB, gate=True)

    stuck, tokens = result.checks
    assert (stuck.passed, set(stuck.subjects), tokens.passed) == (False, {str(tenant), str(other)}, True)
    assert stuck.details == {
        "stuck": 5,
        "is_stuck": 1,
        "lock_left_behind": 1,
        "recovered_too_often": 1,
        "waits_for_processing": 2,
        "by_organization_id": [f"{other}: 3", f"{tenant}: 2"],
    }
    assert (result.status, gated.status) == (Status.SUCCESS, Status.FAILED)
    assert hay.rows("SELECT * FROM conversations ORDER BY id") == before


def test_tells_instances_whose_tokens_nobody_renews(hay: Hay) -> None:
    """One whose access was revoked in the service shows nothing: its tokens and its method stay as they were."""
    month, oauth = hay.ago(days=30), {"enabled": True, "auth_method": "oauth"}
    kept = {"auth_state": {"methodId": "x", "credentials": {}}}
    told = {
        str(hay.add_instance(**oauth, **kept, auth_validated_at=hay.ago(days=30, seconds=1))),
        str(hay.add_instance(**oauth)),
    }
    hay.add_instance(**oauth, **kept, auth_validated_at=month)
    hay.add_instance(**oauth, **kept)
    hay.add_instance(**{**oauth, "enabled": False})
    hay.add_instance(enabled=True, auth_method="api_key")

    _, tokens = hay.run(JOB).checks

    assert (tokens.passed, set(tokens.subjects)) == (False, told)
    assert tokens.details == {"without_tokens": 1, "not_renewed": 1}


def test_all_is_well_in_an_empty_database(hay: Hay) -> None:
    assert [check.passed for check in hay.run(JOB).checks] == [True, True]
