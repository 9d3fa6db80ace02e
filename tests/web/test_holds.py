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


def test_all_jobs_are_held_by_one_request_each_on_record_and_let_go_by_another(world: World) -> None:
    body = {"reason": "incident 7", "until": (world.now + timedelta(hours=4)).isoformat()}
    every = list(world.console.specs)
    of_cath = sorted(key for key in every if key.startswith("cath/"))

    held = world.ask("PUT", "/api/v1/hold", json=body)

    assert (held.status_code, held.json()["jobs"]) == (200, every)
    listed = world.ask("GET", "/api/v1/jobs").json()["items"]
    assert {(job["hold"]["reason"], job["hold"]["held_by"]) for job in listed} == {("incident 7", "ada")}
    assert world.ask("POST", f"{JOB}/runs", json={}).status_code == 409
    assert world.audit() == [("hold", "held")] * len(every)
    assert world.ask("DELETE", "/api/v1/hold?location=cath").json()["jobs"] == of_cath
    assert world.ask("DELETE", "/api/v1/hold").json()["jobs"] == sorted({*every} - {*of_cath})
    assert world.ask("DELETE", "/api/v1/hold").json()["jobs"] == []
    assert world.audit() == [("hold", "held")] * len(every) + [("release", "released")] * len(every)


def test_whoever_may_hold_not_in_every_location_holds_none_and_a_wrong_end_holds_none(world: World) -> None:
    body = {"reason": "r", "until": (world.now + timedelta(hours=4)).isoformat()}
    past = {"reason": "r", "until": (world.now - timedelta(hours=4)).isoformat()}

    assert world.ask("PUT", "/api/v1/hold", groups="cath-admin", json=body).status_code == 403
    assert world.ask("DELETE", "/api/v1/hold", groups="cath-admin").status_code == 403
    assert world.ask("PUT", "/api/v1/hold", json=past).status_code == 422
    assert world.ask("PUT", "/api/v1/hold", json=body | {"location": "nowhere"}).status_code == 422
    assert world.ask("DELETE", "/api/v1/hold?location=nowhere").status_code == 422
    assert world.ask("PUT", "/api/v1/hold", json={"reason": "r"}).status_code == 422
    assert world.instance.count("operations.job_hold") == 0
    assert world.audit() == []
