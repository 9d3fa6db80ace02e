"""What the console holds no tick starts, wherever the schedules run, until the hold ends."""

from datetime import timedelta

import psycopg

from cath_dagster.orchestration.holds import why_held
from cath_dagster.orchestration.schedules import why_skipped
from tests.web.world import World

JOB = "/api/v1/jobs/cath/clear_audit"


def test_the_ticks_of_a_held_job_are_skipped_with_who_holds_it_and_why(world: World) -> None:
    instance, spec = world.instance.dagster, world.console.specs["cath/clear_audit"]
    assert why_skipped(instance, spec, ()) is None
    until = world.now + timedelta(hours=1)
    world.ask("PUT", f"{JOB}/hold", json={"reason": "incident 7", "until": until.isoformat()})

    assert why_skipped(instance, spec, ()) == (
        f"cath/clear_audit is held by ada until {until.isoformat(timespec='minutes')}: incident 7"
    )
    assert why_skipped(instance, world.console.specs["cath/subscriptions"], ()) is None

    world.instance.connection.execute("UPDATE operations.job_hold SET until = now()")
    assert why_skipped(instance, spec, ()) is None


def test_an_instance_without_a_console_holds_nothing(world: World) -> None:
    connection: psycopg.Connection[object] = world.instance.connection
    connection.execute("ALTER TABLE operations.job_hold RENAME TO job_hold_away")
    try:
        assert why_held(world.instance.dagster, world.console.specs["cath/clear_audit"]) is None
    finally:
        connection.execute("ALTER TABLE operations.job_hold_away RENAME TO job_hold")
