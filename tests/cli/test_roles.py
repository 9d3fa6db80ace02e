"""`migrate --role` and `roles sql`: what they give, what they take back, and what they refuse."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import sql

from cath_dagster.cath import CATH
from cath_dagster.cli.roles import Roles, give_roles
from cath_dagster.core.errors import RefusedError
from cath_dagster.core.maintenance.tables import REVISION
from tests.support.cli import findings
from tests.support.command import call
from tests.support.roles import Role, role_in
from tests.support.service import Service

NOT_ENTITLED = "42501"
GRANTS = """
SELECT relname, privilege_type FROM pg_class CROSS JOIN LATERAL aclexplode(relacl)
WHERE grantee = %s::regrole ORDER BY 1, 2
"""


@pytest.fixture
def role(service: Service) -> Iterator[Role]:
    with role_in(service.url, service.connection) as made:
        yield made


def grants(service: Service, role: Role) -> list[tuple[str, str]]:
    return service.rows(GRANTS, f'"{role.name}"')


def execute(service: Service, statement: str, role: Role) -> None:
    service.connection.execute(sql.SQL(statement).format(sql.Identifier(role.name)))


def test_migrate_gives_the_role_its_privileges_once(service: Service, role: Role) -> None:
    first = call(service.environ, "migrate", "cath", "--role", role.name)
    given = grants(service, role)
    again = call(service.environ, "migrate", "cath", "--role", role.name, "--json")

    assert first.returncode == 0, first.stderr
    assert f"{role.name} holds what it needs" in first.stdout
    assert ("audit_log", "DELETE") in given
    assert ("audit_log", "UPDATE") not in given
    assert json.loads(again.stdout) == {
        "cath": {
            "revisions": ["cath_0001", REVISION],
            "roles": [{"role": role.name, "statements": [], "excess": []}],
        }
    }
    assert grants(service, role) == given


def test_the_role_may_read_what_holds_rows_that_its_jobs_delete(service: Service, role: Role) -> None:
    service.connection.execute('CREATE TABLE user_log (user_id uuid REFERENCES "user")')

    call(service.environ, "migrate", "cath", "--role", role.name)

    assert [privilege for table, privilege in grants(service, role) if table == "user_log"] == ["SELECT"]


def test_what_the_role_needs_no_longer_is_taken_back(service: Service, role: Role) -> None:
    execute(
        service,
        "GRANT ALL ON ALL TABLES IN SCHEMA public, maintenance TO {0}; GRANT CREATE ON SCHEMA public TO {0};"
        'GRANT UPDATE (action) ON audit_log TO {0}; GRANT SELECT (email) ON "user" TO {0}',
        role,
    )

    done = call(service.environ, "migrate", "cath", "--role", role.name)

    assert done.returncode == 0, done.stderr
    assert role.attempt("UPDATE audit_log SET action = ''") == NOT_ENTITLED
    assert role.attempt("TRUNCATE maintenance.ledger_event") == NOT_ENTITLED
    assert role.attempt("CREATE TABLE public.mine (id int)") == NOT_ENTITLED
    assert role.attempt('SELECT email FROM "user"') is None


def test_what_the_role_holds_in_other_schemas_is_told_and_left(service: Service, role: Role) -> None:
    service.connection.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.thing (id int)")
    execute(service, "GRANT USAGE ON SCHEMA elsewhere TO {0}; GRANT SELECT ON elsewhere.thing TO {0}", role)
    service.connection.execute("GRANT INSERT ON audit_log TO PUBLIC")

    done = call(service.environ, "migrate", "cath", "--role", role.name, "--json")

    (change,) = json.loads(done.stdout)["cath"]["roles"]
    assert change["excess"] == ["SELECT on elsewhere.thing", "INSERT on public.audit_log"]
    assert role.attempt("SELECT * FROM elsewhere.thing") is None


def test_the_role_that_once_migrated_loses_the_ledger(service: Service, role: Role) -> None:
    execute(
        service,
        "ALTER SCHEMA maintenance OWNER TO {0}; ALTER TABLE maintenance.ledger_event OWNER TO {0};"
        "ALTER TABLE maintenance.deleted_key OWNER TO {0}; ALTER VIEW maintenance.purge_ledger OWNER TO {0}",
        role,
    )
    assert role.attempt("DELETE FROM maintenance.ledger_event") is None

    done = call(service.environ, "migrate", "cath", "--role", role.name)

    assert done.returncode == 0, done.stderr
    assert role.attempt("DELETE FROM maintenance.ledger_event") == NOT_ENTITLED
    assert role.attempt("DROP VIEW maintenance.purge_ledger") == NOT_ENTITLED
    assert role.attempt("SELECT * FROM maintenance.ledger_event") is None


def test_the_sql_of_a_role_is_what_it_takes(service: Service, role: Role) -> None:
    written = call(service.environ, "roles", "sql", "cath", "--role", role.name)
    assert grants(service, role) == []

    service.connection.execute(written.stdout)

    done = call(service.environ, "migrate", "cath", "--role", role.name, "--json")
    assert json.loads(done.stdout)["cath"]["roles"][0]["statements"] == []


def test_the_sql_of_a_role_that_does_not_exist_makes_it(service: Service) -> None:
    written = call(service.environ, "roles", "sql", "cath", "--role", "not yet made")

    assert written.stdout.splitlines()[0] == 'CREATE ROLE "not yet made" LOGIN;'
    assert any("ON maintenance.ledger_event" in line for line in written.stdout.splitlines())


def test_a_role_that_does_not_exist_is_refused_with_the_statement_that_makes_it(service: Service) -> None:
    done = call(service.environ, "migrate", "cath", "--role", "not yet made")

    assert done.returncode == 1
    assert 'CREATE ROLE "not yet made" LOGIN' in done.stderr


def test_a_superuser_is_refused(service: Service, role: Role) -> None:
    execute(service, "ALTER ROLE {} SUPERUSER", role)

    done = call(service.environ, "migrate", "cath", "--role", role.name)

    assert done.returncode == 1
    assert "could change what maintenance.deleted_key says of the past" in done.stderr
    assert grants(service, role) == []


def test_a_role_to_which_another_gives_the_past_is_refused(service: Service, role: Role) -> None:
    service.connection.execute("GRANT DELETE ON maintenance.ledger_event TO PUBLIC")

    done = call(service.environ, "migrate", "cath", "--role", role.name)

    assert done.returncode == 1
    assert "PUBLIC or a role that it is a member of" in done.stderr


def test_the_role_that_is_logged_in_is_refused(service: Service, role: Role) -> None:
    call(service.environ, "migrate", "cath", "--role", role.name)
    environ = service.environ | {"CATH_DATABASE_URL": role.url}

    done = call(environ, "roles", "sql", "cath", "--role", role.name)

    assert done.returncode == 1
    assert "is logged in itself" in done.stderr


def test_one_who_may_not_give_is_refused_and_nothing_is_given(
    service: Service, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    with role_in(service.url, service.connection) as giver:
        execute(service, "GRANT USAGE ON SCHEMA maintenance TO {0} WITH GRANT OPTION", giver)
        execute(service, "GRANT SELECT ON maintenance.alembic_version TO {0}", giver)
        execute(service, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {0} WITH GRANT OPTION", giver)
        monkeypatch.setenv("CATH_DATABASE_URL", giver.url)

        with pytest.raises(RefusedError, match="Log in as the owner of the tables") as refused:
            give_roles(CATH, Roles(jobs=role.name, restore=None), now=service.as_of)

    assert f"{giver.name} may not: GRANT" in str(refused.value)
    assert grants(service, role) == []


def test_a_grant_that_comes_to_nothing_is_noticed(
    service: Service, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    with role_in(service.url, service.connection) as giver:
        execute(service, "GRANT ALL ON SCHEMA maintenance, public TO {0} WITH GRANT OPTION", giver)
        execute(service, "GRANT SELECT ON ALL TABLES IN SCHEMA maintenance, public TO {0} WITH GRANT OPTION", giver)
        monkeypatch.setenv("CATH_DATABASE_URL", giver.url)

        with pytest.raises(RefusedError, match=f"{role.name} did not get .*DELETE ON public.audit_log"):
            give_roles(CATH, Roles(jobs=role.name, restore=None), now=service.as_of)

    assert grants(service, role) == []


def test_doctor_names_the_schema_of_the_service_that_a_role_may_not_use(service: Service, role: Role) -> None:
    call(service.environ, "migrate", "cath", "--role", role.name)
    service.connection.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    execute(service, "REVOKE USAGE ON SCHEMA public FROM {0}", role)

    found = [each for each in findings(service.environ | {"CATH_DATABASE_URL": role.url}) if each["level"] == "problem"]

    assert (found[0]["subject"], found[0]["remedy"]) == (
        "schema public",
        f'GRANT USAGE ON SCHEMA public TO "{role.name}";',
    )


# What doctor says of a role that could change the ledger's past


def ledger(service: Service, url: str) -> dict[str, Any]:
    """Return what doctor finds of the ledger's past under a role, having found no problem."""
    environ = service.environ | {"CATH_DATABASE_URL": url}
    assert call(environ, "doctor", "cath").returncode == 0
    (found,) = [each for each in findings(environ) if each["subject"] == "ledger"]
    return found


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("ALTER TABLE maintenance.ledger_event OWNER TO {0}", "owns the table"),
        ("ALTER SCHEMA maintenance OWNER TO {0}", "owns the schema"),
        ("GRANT UPDATE (deleted) ON maintenance.ledger_event TO {0}", "has the privilege"),
    ],
)
def test_doctor_warns_of_a_role_that_could_change_the_past_and_names_the_command_that_helps(
    service: Service, role: Role, statement: str, why: str
) -> None:
    call(service.environ, "migrate", "cath", "--role", role.name)
    assert ledger(service, role.url)["level"] == "ok"
    execute(service, statement, role)

    found = ledger(service, role.url)
    call(service.environ, *shlex.split(found["remedy"].partition("cath-dagster ")[2]))

    assert found["level"] == "warning"
    assert role.name in found["says"]
    assert why in found["says"]
    assert ledger(service, role.url)["level"] == "ok"


def test_doctor_warns_of_a_role_that_may_become_the_ledger_s_owner(service: Service, role: Role) -> None:
    call(service.environ, "migrate", "cath", "--role", role.name)
    with role_in(service.url, service.connection) as owner:
        execute(service, "ALTER TABLE maintenance.deleted_key OWNER TO {0}", owner)
        service.connection.execute(
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(owner.name), sql.Identifier(role.name))
        )

        found = ledger(service, role.url)
        service.connection.execute("ALTER TABLE maintenance.deleted_key OWNER TO CURRENT_USER")

    assert found["level"] == "warning"
    assert f"may become {owner.name}" in found["says"]


def test_doctor_fails_nobody_who_runs_everything_as_a_superuser(service: Service) -> None:
    found = ledger(service, service.url)

    assert found["level"] == "warning"
    assert "is a superuser" in found["says"]
    assert "cath-dagster migrate cath --role" in found["remedy"]


def test_a_role_without_a_location_is_wrong_usage(service: Service) -> None:
    assert call(service.environ, "migrate", "--role", "someone").returncode == 2
    assert call(service.environ, "roles", "sql", "cath").returncode == 2


@pytest.fixture
def owner(service: Service) -> Iterator[Role]:
    """Yield a role that owns every table and may give nothing else away."""
    with role_in(service.url, service.connection) as made:
        for kind, name in service.rows(
            "SELECT CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, oid::regclass::text FROM pg_class"
            " WHERE relkind IN ('r', 'v') AND relnamespace IN ('public'::regnamespace, 'maintenance'::regnamespace)"
        ):
            execute(service, f"ALTER {kind} {name} OWNER TO {{}}", made)
        execute(service, "ALTER SCHEMA maintenance OWNER TO {}", made)
        execute(service, f"REVOKE ALL ON DATABASE {service.connection.info.dbname} FROM PUBLIC", made)
        execute(service, "REVOKE ALL ON SCHEMA public FROM PUBLIC", made)
        execute(service, f"GRANT CONNECT, CREATE ON DATABASE {service.connection.info.dbname} TO {{}}", made)
        execute(service, "GRANT USAGE ON SCHEMA public TO {}", made)
        yield made


def test_a_role_that_gets_no_way_in_is_not_said_to_hold_what_it_needs(
    service: Service, role: Role, owner: Role
) -> None:
    done = call(service.environ | {"CATH_DATABASE_URL": owner.url}, "migrate", "cath", "--role", role.name)

    assert done.returncode != 0
    assert f"{role.name} did not get CONNECT ON DATABASE" in done.stderr
    assert "USAGE ON SCHEMA public" in done.stderr


def test_a_role_that_may_not_log_in_is_not_said_to_hold_what_it_needs(service: Service, role: Role) -> None:
    execute(service, "ALTER ROLE {} NOLOGIN", role)

    done = call(service.environ, "migrate", "cath", "--role", role.name)

    assert done.returncode != 0
    assert "LOGIN" in done.stderr
