"""`migrate`, called by several pods at once or killed in its midst."""

import signal
import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from cath_dagster.core.maintenance.tables import REVISION
from cath_dagster.development.samples.cath import sample as cath_sample
from tests.support.command import PROGRAM, environment
from tests.support.roles import Role, role_in
from tests.support.servers import await_true

pytestmark = pytest.mark.stack

AT_ONCE = 4
LOCK = 4_711
WAITS = f"""
CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); END $$;
CREATE EVENT TRIGGER wait ON ddl_command_end WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION wait()
"""
WAITING = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 4711"
REVISIONS = "SELECT array_agg(version_num::text ORDER BY version_num) FROM maintenance.alembic_version"


@pytest.fixture
def cath(empty_database: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """CaTH's database as the service makes it, without anything of ours."""
    with psycopg.connect(empty_database) as connection:
        cath_sample.create_schema(connection)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def role(cath: psycopg.Connection[tuple[object, ...]], empty_database: str) -> Iterator[Role]:
    with role_in(empty_database, cath) as made:
        yield made


def start(url: str, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [PROGRAM, "migrate", "cath", *options],
        env=environment({"CATH_DATABASE_URL": url}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(*started: "subprocess.Popen[str]") -> list[tuple[int, str]]:
    said = [process.communicate(timeout=150)[1] for process in started]
    return [(process.returncode, words) for process, words in zip(started, said, strict=True)]


def test_of_four_at_once_all_succeed(cath: psycopg.Connection[tuple[object, ...]], empty_database: str) -> None:
    assert ended(*(start(empty_database) for _ in range(AT_ONCE))) == [(0, "")] * AT_ONCE
    assert cath.execute(REVISIONS).fetchone() == (["cath_0001", REVISION],)


def test_of_four_at_once_that_give_a_role_its_privileges_all_succeed(empty_database: str, role: Role) -> None:
    assert ended(*(start(empty_database, "--role", role.name) for _ in range(AT_ONCE))) == [(0, "")] * AT_ONCE
    assert role.attempt("SELECT * FROM maintenance.ledger_event") is None


def test_one_that_is_killed_in_its_midst_leaves_nothing_in_the_next_ones_way(
    cath: psycopg.Connection[tuple[object, ...]], empty_database: str
) -> None:
    cath.execute(WAITS)
    with psycopg.connect(empty_database) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        killed = start(empty_database)
        await_true(empty_database, WAITING)
        killed.send_signal(signal.SIGKILL)
        assert ended(killed)[0][0] == -signal.SIGKILL

    assert ended(start(empty_database)) == [(0, "")]
    assert cath.execute(REVISIONS).fetchone() == (["cath_0001", REVISION],)
