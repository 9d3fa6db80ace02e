"""The jobs' role on a database with row-level security: what it is given is enough, and without it nothing is overlooked."""

import psycopg
import pytest
from psycopg import sql

from cath_dagster.core.model.outcome import Status
from tests.cloudmake.cloudmake import CloudMake
from tests.support.command import call
from tests.support.roles import role_in


def as_role(cloudmake: CloudMake, url: str) -> None:
    cloudmake.environ["CLOUDMAKE_DATABASE_URL"] = url


def test_what_roles_sql_prints_lets_the_role_past_the_policies(cloudmake: CloudMake) -> None:
    with role_in(cloudmake.url, cloudmake.connection) as role:
        printed = call(cloudmake.environ, "roles", "sql", "cloudmake", "--role", role.name)
        assert printed.returncode == 0, printed.stderr
        assert f'ALTER ROLE "{role.name}" BYPASSRLS;' in printed.stdout
        cloudmake.connection.execute(printed.stdout)
        as_role(cloudmake, role.url)
        cloudmake.add_preview()

        result = cloudmake.run("preview_archival")
        again = call(
            cloudmake.environ | {"CLOUDMAKE_DATABASE_URL": cloudmake.url},
            "roles",
            "sql",
            "cloudmake",
            "--role",
            role.name,
        )

    assert result.error is None
    assert len(cloudmake.audit()) == 1
    assert again.stdout == ""


def test_a_role_that_a_policy_applies_to_is_refused_and_no_policy_of_its_own_helps(cloudmake: CloudMake) -> None:
    with role_in(cloudmake.url, cloudmake.connection) as role:
        given = call(cloudmake.environ, "roles", "sql", "cloudmake", "--role", role.name).stdout
        name = sql.Identifier(role.name)
        cloudmake.connection.execute(given)
        cloudmake.connection.execute(sql.SQL("ALTER ROLE {} NOBYPASSRLS").format(name))
        cloudmake.connection.execute(
            sql.SQL("CREATE POLICY ours ON admin_audit_logs TO {} USING (true) WITH CHECK (true)").format(name)
        )
        as_role(cloudmake, role.url)
        cloudmake.add_preview()

        result = cloudmake.run("preview_archival")

    assert result.status is Status.REFUSED
    assert "table admin_audit_logs: row-level security may hide rows" in (result.error or "")
    assert cloudmake.count("environments", "kind = 'archived'") == 0


def test_the_server_refuses_a_session_of_ours_whatever_the_policy_says(cloudmake: CloudMake) -> None:
    with role_in(cloudmake.url, cloudmake.connection) as role:
        name = sql.Identifier(role.name)
        cloudmake.connection.execute(
            sql.SQL(
                "GRANT SELECT ON admin_audit_logs TO {0}; CREATE POLICY ours ON admin_audit_logs TO {0} USING (true)"
            ).format(name)
        )
        with (
            psycopg.connect(role.url, options="-c row_security=off") as session,
            pytest.raises(psycopg.Error) as refused,
        ):
            session.execute("SELECT FROM admin_audit_logs")
        cloudmake.connection.execute("DROP POLICY ours ON admin_audit_logs")

    assert "would be affected by row-level security policy" in str(refused.value)
