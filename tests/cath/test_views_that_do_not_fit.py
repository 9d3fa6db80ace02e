"""Views that are not what this release wants, or that others stand in the way of: healed by a run, or named."""

import uuid
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath.views import VIEWS
from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.inspection.view_diagnosis import diagnose_views
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.outcome import RunResult, Status
from tests.support.command import call
from tests.support.service import Service, outcome
from tests.support.views import (
    ARTEFACT,
    JOB,
    LOCATION,
    NAMES,
    SUBSCRIPTION,
    USER,
    add_rows,
    contents,
    drop_views,
    updated,
)

VIEW = f"maintenance.{LOCATION}"
DROP: LiteralString = "DROP MATERIALIZED VIEW maintenance.sdp_mat_view_location; "
MAKE: LiteralString = DROP + "CREATE MATERIALIZED VIEW maintenance.sdp_mat_view_location AS "
INDEX: LiteralString = (
    "; CREATE UNIQUE INDEX sdp_mat_view_location_key ON maintenance.sdp_mat_view_location (location_id)"
)

DAMAGES: dict[str, LiteralString] = {
    "without data": "REFRESH MATERIALIZED VIEW maintenance.sdp_mat_view_location WITH NO DATA",
    "without its index": "DROP INDEX maintenance.sdp_mat_view_location_key",
    "without either": "DROP INDEX maintenance.sdp_mat_view_location_key; "
    "REFRESH MATERIALIZED VIEW maintenance.sdp_mat_view_location WITH NO DATA",
    "with an index of some rows": "DROP INDEX maintenance.sdp_mat_view_location_key; "
    "CREATE UNIQUE INDEX sdp_mat_view_location_key ON maintenance.sdp_mat_view_location (location_id) WHERE name <> ''",
    "with an invalid index": "UPDATE pg_index SET indisvalid = false "
    "WHERE indexrelid = 'maintenance.sdp_mat_view_location_key'::regclass",
    "with fewer columns": MAKE + "SELECT location_id, name FROM location" + INDEX,
    "with more columns": MAKE + "SELECT location_id, name, welsh_name, email FROM location" + INDEX,
    "with a column of another name": "ALTER MATERIALIZED VIEW maintenance.sdp_mat_view_location "
    "RENAME COLUMN welsh_name TO welsh",
    "with a column of another type": MAKE
    + "SELECT location_id::bigint AS location_id, name, welsh_name FROM location"
    + INDEX,
    "with other rows": MAKE + "SELECT location_id, name, welsh_name FROM location WHERE location_id < 0" + INDEX,
    "with a key that is none": MAKE + "SELECT 1 AS location_id, name, welsh_name FROM location",
    "of another release": "UPDATE maintenance.view_state SET definition = 'SELECT 1' "
    "WHERE view_name = 'sdp_mat_view_location'",
    "of which nothing is known": "DELETE FROM maintenance.view_state WHERE view_name = 'sdp_mat_view_location'",
    "over a table that was replaced": "ALTER TABLE location RENAME TO old_location; "
    "CREATE TABLE location (LIKE old_location INCLUDING ALL); INSERT INTO location SELECT * FROM old_location; "
    "UPDATE location SET name = name || ' (new)'",
}
SEEN = {
    name: damage
    for name, damage in DAMAGES.items()
    if name not in ("with other rows", "over a table that was replaced")
}
"""What the catalogue shows; the others show when the contents are compared, which takes as long as a run."""
REMADE = tuple(name for name in DAMAGES if not name.startswith(("without", "with an in")))


@pytest.fixture
def courts(service: Service) -> Service:
    add_rows(service)
    service.add_location(2)
    assert service.run(JOB).error is None
    return service


@pytest.fixture
def reader(service: Service) -> Iterator[str]:
    name = f"reader {uuid.uuid4().hex[:8]}"
    service.connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    yield name
    service.connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


def shown(service: Service) -> list[tuple[object, ...]]:
    return service.rows(f"SELECT location_id, name, welsh_name FROM {VIEW} ORDER BY 1")


def examined(service: Service) -> list[Finding]:
    """Return what doctor says of the views, in their order."""
    engine = open_engine(service.url, variable="CATH_DATABASE_URL", application_name="test")
    with engine.connect() as connection:
        found = list(diagnose_views(connection, VIEWS, job=JOB, location="cath"))
    engine.dispose()
    return found


def healed(service: Service) -> RunResult:
    """Return a run that leaves all as it should be, so that the next one has nothing to do."""
    done = service.run(JOB)
    assert done.error is None
    assert outcome(done, LOCATION).details["equals_source"] is True
    assert shown(service) == service.rows("SELECT location_id, name, welsh_name FROM location ORDER BY 1")
    assert updated(service.run(JOB)) == set()
    service.add_location(99)
    # Beside its readers again, which takes a unique index.
    with psycopg.connect(service.url) as open_reader:
        open_reader.execute(f"SELECT FROM {VIEW}")
        assert updated(service.run(JOB)) == {LOCATION}
    return done


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_next_run_heals_a_view(courts: Service, damage: LiteralString) -> None:
    courts.connection.execute(damage)

    planned = courts.run(JOB, dry_run=True)
    done = healed(courts)

    assert planned.error is None
    assert outcome(planned, LOCATION).matched == outcome(done, LOCATION).matched == 1
    assert LOCATION in updated(done)


@pytest.mark.parametrize("damage", SEEN.values(), ids=SEEN)
def test_doctor_says_so_before_the_run_and_no_more_after_it(courts: Service, damage: LiteralString) -> None:
    courts.connection.execute(damage)

    before = examined(courts)
    courts.run(JOB)

    assert [finding.level for finding in before] == [Level.OK, Level.WARNING, Level.OK, Level.OK]
    assert "the next run of refresh_views mends it" in before[1].message
    assert {finding.level for finding in examined(courts)} == {Level.OK}


@pytest.mark.parametrize("damage", [DAMAGES["with fewer columns"], DROP], ids=["made anew", "made"])
def test_a_view_made_anew_can_be_read_by_whoever_could_read_it(
    courts: Service, reader: str, damage: LiteralString
) -> None:
    role = sql.Identifier(reader)
    courts.connection.execute(damage)
    if damage is DROP:
        courts.run(JOB)
        courts.connection.execute("UPDATE maintenance.view_state SET definition = 'x'")
    for grant in (
        "GRANT SELECT ON maintenance.sdp_mat_view_location TO {} WITH GRANT OPTION",
        "GRANT SELECT ON maintenance.sdp_mat_view_location TO PUBLIC",
        "GRANT SELECT (name) ON maintenance.sdp_mat_view_location TO {}",
    ):
        courts.connection.execute(sql.SQL(grant).format(role))
    acl = (
        f"SELECT unnest(relacl)::text AS item FROM pg_class WHERE oid = '{VIEW}'::regclass UNION ALL "
        f"SELECT unnest(attacl)::text FROM pg_attribute WHERE attrelid = '{VIEW}'::regclass ORDER BY item"
    )
    before = courts.rows(acl)

    healed(courts)

    assert courts.rows(acl) == before


def test_a_views_owner_can_read_the_one_that_another_role_made_anew(courts: Service, reader: str) -> None:
    role = sql.Identifier(reader)
    courts.connection.execute(sql.SQL("GRANT ALL ON SCHEMA maintenance TO {}").format(role))
    courts.connection.execute(
        sql.SQL("ALTER MATERIALIZED VIEW maintenance.sdp_mat_view_location OWNER TO {}").format(role)
    )
    courts.connection.execute("UPDATE maintenance.view_state SET definition = 'x'")

    courts.run(JOB)

    assert courts.value("SELECT has_table_privilege(%s, 'maintenance.sdp_mat_view_location', 'SELECT')", reader)


# What is in the way

DEPENDENTS: dict[str, LiteralString] = {
    "view public.courts": "CREATE VIEW courts AS SELECT name FROM maintenance.sdp_mat_view_location",
    "materialized view public.courts": "CREATE MATERIALIZED VIEW courts AS SELECT * FROM "
    "maintenance.sdp_mat_view_location",
    "function public.courts()": "CREATE FUNCTION courts() RETURNS bigint BEGIN ATOMIC "
    "SELECT count(*) FROM maintenance.sdp_mat_view_location; END",
    "column court of table public.courts": "CREATE TABLE courts (court maintenance.sdp_mat_view_location)",
    "column all_courts of table public.courts": "CREATE TABLE courts (all_courts maintenance.sdp_mat_view_location[])",
}


@pytest.mark.parametrize(("name", "statement"), DEPENDENTS.items(), ids=DEPENDENTS)
def test_what_depends_on_a_view_that_would_be_dropped_is_named_and_stays(
    courts: Service, name: str, statement: LiteralString
) -> None:
    courts.connection.execute(statement)
    courts.connection.execute("UPDATE maintenance.view_state SET definition = 'x' WHERE view_name = %s", [LOCATION])
    before = contents(courts, LOCATION)
    words = name.replace("public.", "")

    planned, done = courts.run(JOB, dry_run=True), courts.run(JOB)
    said = examined(courts)[1]
    with pytest.raises(DatabaseStatementError) as refused:
        drop_views(courts)

    for error in (planned.error, done.error, said.message, refused.value):
        assert VIEW in " ".join(str(error).split())
        assert words in " ".join(str(error).replace("public.", "").split())
    assert (planned.status, done.status) == (Status.FAILED, Status.FAILED)
    assert said.level is Level.PROBLEM
    assert contents(courts, LOCATION) == before
    assert outcome(done, USER).failed == 0


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name not in REMADE])
def test_what_depends_on_a_view_does_not_keep_it_from_being_filled_and_indexed(courts: Service, damage: str) -> None:
    courts.connection.execute("CREATE VIEW courts AS SELECT name FROM maintenance.sdp_mat_view_location")
    courts.connection.execute(DAMAGES[damage])

    healed(courts)

    assert courts.count("courts") == 3


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_what_is_no_materialised_view_is_let_be_and_named(courts: Service, kind: LiteralString) -> None:
    courts.connection.execute(DROP)
    courts.connection.execute(f"CREATE {kind} maintenance.sdp_mat_view_location AS SELECT 1 AS only_here")

    done = courts.run(JOB)

    assert "sdp_mat_view_location is no materialised view" in str(done.error)
    assert [outcome(done, name).failed for name in NAMES] == [0, 1, 0, 0]
    assert courts.value("SELECT only_here FROM maintenance.sdp_mat_view_location") == 1
    assert examined(courts)[1].level is Level.PROBLEM


@pytest.mark.parametrize("relation", [VIEW, "public.location"])
def test_a_locked_view_is_named_with_who_holds_it_and_the_others_are_done(courts: Service, relation: str) -> None:
    courts.add_location(3)
    courts.add_user()
    is_view = relation == VIEW
    with psycopg.connect(courts.url, application_name="a migration") as holder:
        if is_view:
            holder.execute("REFRESH MATERIALIZED VIEW maintenance.sdp_mat_view_location")
        else:
            holder.execute("LOCK TABLE location")

        done = courts.run(JOB)
        holder.rollback()

    assert done.status is Status.FAILED
    assert "(a migration, idle in transaction) holds AccessExclusiveLock on" in str(done.error)
    failed = {name for name in NAMES if outcome(done, name).failed}
    assert failed == ({LOCATION} if is_view else {LOCATION, SUBSCRIPTION})
    assert updated(done) == {USER}
    assert updated(courts.run(JOB)) == {LOCATION}


def test_a_view_that_is_free_again_when_the_others_are_done_is_refreshed(courts: Service) -> None:
    courts.add_location(3)
    courts.add_user()
    done = courts.run_beside(JOB, ("LOCK TABLE location", []))

    assert done.error is None
    assert updated(done) == {LOCATION, USER}


# What the service changes


def test_doctor_names_the_columns_that_a_migration_cannot_drop(courts: Service) -> None:
    said = " ".join(call({**courts.environ, "COLUMNS": "400"}, "doctor", "cath").stdout.split())

    for column in ("location.welsh_name", "user.last_signed_in_date", "subscription.search_value", "artefact.type"):
        assert column in said
    assert "location.deleted_at" not in said
    assert "cath-dagster views drop cath" in said


def test_doctor_names_a_view_of_another_release_that_reads_a_column_this_one_does_without(courts: Service) -> None:
    courts.connection.execute(MAKE + "SELECT location_id, name, welsh_name, deleted_at FROM location" + INDEX)

    assert "location.deleted_at" in examined(courts)[1].message
    courts.run(JOB)
    assert "location.deleted_at" not in examined(courts)[1].message
    courts.connection.execute("ALTER TABLE location DROP COLUMN deleted_at")


@pytest.mark.parametrize("column", ["welsh_name", "name"])
def test_doctor_names_job_and_column_the_day_that_it_is_gone(courts: Service, column: LiteralString) -> None:
    drop_views(courts)
    courts.connection.execute(f"ALTER TABLE location DROP COLUMN {column}")

    done, said = courts.run(JOB), examined(courts)

    assert [finding.level is Level.PROBLEM for finding in said] == [False, True, False, column == "name"]
    assert "refresh_views cannot make or refresh it" in said[1].message
    assert f"{column} does not exist" in said[1].message.replace('"', "")
    assert done.status is Status.FAILED
    assert outcome(done, ARTEFACT).failed == 0
