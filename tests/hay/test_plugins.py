"""Rows of plugins that claim what is not so, and plugins that do not work, each told once."""

from datetime import timedelta
from typing import Any

from cath_dagster.core.model.outcome import Status
from tests.hay.hay import Hay
from tests.support.maintained import outcome

CLEANUP, HEALTH = "plugin_instance_cleanup", "plugin_health_check"
MOMENT = timedelta(microseconds=1)


def test_stops_rows_that_claim_to_run_and_are_silent(hay: Hay) -> None:
    """Among them the one whose worker the service would end though it was used this moment: it was started the other way."""
    half_hour, quarter = hay.ago(minutes=30), hay.ago(minutes=15)
    old, older = {"last_activity_at": half_hour - MOMENT}, {"last_started_at": hay.ago(days=1)}
    error = {"runtime_state": "error", "status": "error"}
    expected = {
        ("stopped", "silent"): hay.add_instance(**old, **older, process_id="999999", health_status="healthy"),
        ("stopped", "without any stamp"): hay.add_instance(),
        ("stopped", "starting since yesterday"): hay.add_instance(runtime_state="starting", running=False, **older),
        ("stopped", "degraded"): hay.add_instance(runtime_state="degraded", **old),
        ("ready", "silent for just so long"): hay.add_instance(last_activity_at=half_hour),
        ("ready", "used this moment, started the other way"): hay.add_instance(
            last_health_check=hay.as_of, last_activity_at=None
        ),
        ("ready", "started lately"): hay.add_instance(**old, last_started_at=hay.ago(minutes=1)),
        ("ready", "made lately"): hay.add_instance(created_at=hay.ago(minutes=10)),
        ("stopped", "disabled, and claims to run"): hay.add_instance(
            runtime_state="stopped", status="stopped", **older
        ),
        ("error", "in error, and claims to run"): hay.add_instance(
            **error, last_health_check=quarter - MOMENT, last_error="x"
        ),
        ("error", "in error a moment ago"): hay.add_instance(**error, last_health_check=quarter),
        ("stopped", "stopped"): hay.add_instance(running=False, runtime_state="stopped", status="stopped"),
    }
    running = {name for name in expected if name[1] == "in error a moment ago" or name[0] == "ready"}

    plan, result, again = hay.run(CLEANUP, dry_run=True), hay.run(CLEANUP), hay.run(CLEANUP)

    states, claims = hay.column("plugin_instances", "runtime_state"), hay.column("plugin_instances", "running")
    assert {name: states[key] for name, key in expected.items()} == {name: name[0] for name in expected}
    assert {name for name, key in expected.items() if claims[key]} == running
    row = hay.rows(
        "SELECT process_id, health_status, status, last_stopped_at > %s, updated_at > %s FROM plugin_instances WHERE id = %s",
        *(hay.as_of, hay.as_of, expected["stopped", "silent"]),
    )
    assert row == [(None, "unknown", "stopped", True, True)]
    counts = {"stopped": 4, "corrected": 2}
    assert [counts.items() <= outcome(each, "plugin_instances").details.items() for each in (plan, result)] == [
        True,
        True,
    ]
    assert (result.error, again.changed) == (None, 0)


def test_no_setting_touches_a_row_younger_than_a_quarter_of_an_hour(hay: Hay) -> None:
    hay.add_instance(last_activity_at=hay.ago(minutes=15))
    hay.add_instance(last_activity_at=hay.ago(minutes=15) - MOMENT)

    assert "stale_minutes" in (hay.run(CLEANUP, stale_minutes=14).error or "")
    assert hay.run(CLEANUP, stale_minutes=15).changed == 1


def test_an_instance_that_is_used_while_the_run_waits_keeps_its_tools(hay: Hay) -> None:
    key = hay.add_instance()

    result = hay.run_beside(
        CLEANUP, ("UPDATE plugin_instances SET last_activity_at = %s WHERE id = %s", [hay.as_of, key])
    )

    assert (result.error, hay.column("plugin_instances", "runtime_state")) == (None, {key: "ready"})


def told(hay: Hay) -> set[str]:
    return {subject for (subject,) in hay.rows("SELECT subject_id FROM maintenance.sent_notice WHERE job = %s", HEALTH)}


def test_each_plugin_that_does_not_work_is_told_once_until_it_works_again(hay: Hay) -> None:
    error: dict[str, Any] = {
        "runtime_state": "error",
        "enabled": True,
        "last_error": "token made-up of somebody@example.org",
    }
    broken = {
        str(hay.add_instance(**error)),
        str(hay.add_plugin(status="not_found")),
        str(hay.add_plugin(metadata_state="error")),
        str(hay.add_plugin(last_install_error="x")),
        str(hay.add_plugin(last_build_error="x")),
    }
    hay.add_instance(**{**error, "enabled": False})
    hay.add_instance(**{**error, "last_error": None})
    hay.add_plugin(status="disabled")

    plan = hay.run(HEALTH, dry_run=True)
    assert told(hay) == set()
    first, again = hay.run(HEALTH), hay.run(HEALTH)

    assert (told(hay), first.status) == (broken, Status.SUCCESS)
    assert [sum(each.notified for each in result.outcomes) for result in (first, again)] == [5, 0]
    assert sum(each.matched for each in plan.outcomes) == 5
    for result in (first, again):
        assert {check.check: (check.passed, len(check.subjects)) for check in result.checks} == {
            "no_instance_in_error": (False, 1),
            "no_broken_plugin": (False, 4),
        }
    assert "example.org" not in str(first)
    hay.connection.execute(
        "UPDATE plugin_registry SET status = 'available'; UPDATE plugin_instances SET runtime_state = 'ready'"
    )
    assert [check.passed for check in hay.run(HEALTH).checks] == [True, False]
    assert len(told(hay)) == 3
    hay.connection.execute("UPDATE plugin_instances SET runtime_state = 'error'")
    assert outcome(hay.run(HEALTH), "plugin_instances").notified == 1


def test_a_health_at_which_nobody_has_looked_for_long_is_unknown(hay: Hay) -> None:
    half_hour = hay.ago(minutes=30)
    expected = {
        ("unknown", "healthy, long ago"): hay.add_instance(
            health_status="healthy", last_health_check=half_hour - MOMENT
        ),
        ("unknown", "unhealthy, long ago"): hay.add_instance(
            health_status="unhealthy", last_health_check=half_hour - MOMENT
        ),
        ("unknown", "never looked at"): hay.add_instance(health_status="healthy"),
        ("healthy", "just so long ago"): hay.add_instance(health_status="healthy", last_health_check=half_hour),
        (None, "not told"): hay.add_instance(last_health_check=hay.ago(days=1)),
    }

    result, again = hay.run(HEALTH), hay.run(HEALTH)

    found = hay.column("plugin_instances", "health_status")
    assert {name: found[key] for name, key in expected.items()} == {name: name[0] for name in expected}
    assert (outcome(result, "plugin_instances").updated, again.changed) == (3, 0)
