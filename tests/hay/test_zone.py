"""Where the database's own zone is not UTC, the service's naive instants are hours off, and every run is refused."""

import json
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cath_dagster.core.model.outcome import Status
from cath_dagster.core.run.spec import load_specs
from tests.hay.hay import Hay
from tests.support.command import call
from tests.support.roles import role_in

JOBS = [spec.name for spec in load_specs(Hay.location)]


def set_zone(hay: Hay, zone: str | None) -> None:
    name = sql.Identifier(hay.value("SELECT current_database()"))
    change = sql.SQL("RESET timezone") if zone is None else sql.SQL("SET timezone TO {}").format(sql.Literal(zone))
    hay.connection.execute(sql.SQL("ALTER DATABASE {} {}").format(name, change))


def test_every_job_is_refused_and_each_name_of_utc_lets_it_in(hay: Hay) -> None:
    set_zone(hay, "America/New_York")

    for job in JOBS:
        result = hay.run(job)
        assert result.status is Status.REFUSED, job
        assert "America/New_York" in (result.error or "")
        assert "SET timezone TO 'UTC'" in (result.error or "")
    plan = hay.run(JOBS[0], dry_run=True)
    assert (plan.status, "America/New_York" in (plan.would_refuse or "")) == (Status.SUCCESS, True)
    for zone in ("UTC", "Etc/UTC", "gmt", "Zulu"):
        set_zone(hay, zone)
        assert hay.run(JOBS[0]).status is Status.SUCCESS
    for zone in ("Europe/London", "Africa/Abidjan", "+01"):
        set_zone(hay, zone)
        assert hay.run(JOBS[0]).status is Status.REFUSED


def test_a_zone_of_the_role_does_not_hide_the_databases(hay: Hay) -> None:
    with role_in(hay.url, hay.connection) as role:
        name = sql.Identifier(role.name)
        hay.connection.execute(
            sql.SQL("ALTER ROLE {} SUPERUSER; ALTER ROLE {} SET timezone TO 'UTC'").format(name, name)
        )
        hay.environ["HAY_DATABASE_URL"] = role.url
        hidden = hay.run(JOBS[0])
        set_zone(hay, "Asia/Tokyo")
        other = hay.run(JOBS[0])
        set_zone(hay, "UTC")
        own = hay.run(JOBS[0])
        with suppress(psycopg.Error):
            hay.connection.execute(sql.SQL("ALTER ROLE {} RESET timezone").format(name))

    assert [result.status for result in (hidden, other, own)] == [Status.REFUSED, Status.REFUSED, Status.SUCCESS]
    assert "cannot be seen" in (hidden.error or "")


@pytest.mark.parametrize("column", ["created_at", "last_message_at"])
def test_a_session_of_ours_reads_naive_and_aware_instants_alike(hay: Hay, column: str) -> None:
    """The end of a conversation that has no other stamp is its creation, which has no zone."""
    tenant = hay.add_tenant(30)
    at: dict[str, Any] = {"created_at": hay.naive_ago(days=30, hours=-1), "closed_at": None}
    if column == "last_message_at":
        at |= {"created_at": hay.naive_ago(days=300), "last_message_at": hay.ago(days=30, hours=-1)}
    hay.add_conversation(tenant, **at)

    assert hay.run("conversation_retention").changed == 0
    hay.connection.execute(f"UPDATE conversations SET {column} = {column} - interval '1 hour 1 second'")
    assert hay.run("conversation_retention").changed == 1


def test_the_doctor_says_it_of_each_job_and_warns_of_the_one_that_is_off(hay: Hay) -> None:
    del hay.environ["HAY_RETENTION_OWNS"]
    well = json.loads(call(hay.environ, "doctor", "hay", "--json").stdout)
    set_zone(hay, "Asia/Tokyo")

    ill = json.loads(call(hay.environ, "doctor", "hay", "--json").stdout)

    told = [{each["subject"]: each["level"] for each in found if each["level"] != "ok"} for found in (well, ill)]
    assert told[0] == {"ledger": "warning", "job conversation_retention": "warning"}
    off = {"conversation_retention", "dpop_cache_cleanup"}
    assert told[1].items() >= {f"job {job}": "warning" if job in off else "problem" for job in JOBS}.items()
