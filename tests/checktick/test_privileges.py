"""Each job needs the privileges that its specification names, and no other."""

import contextlib
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from psycopg import sql

from cath_dagster.checktick import CHECKTICK
from cath_dagster.core.maintenance.tables import OURS, SCHEMA
from cath_dagster.core.run.spec import JobSpec, load_specs
from tests.checktick.checktick import CheckTick
from tests.support.expired import leave_work

SPECS = {spec.name: spec for spec in load_specs(CHECKTICK)}


@contextlib.contextmanager
def role_of(checktick: CheckTick, spec: JobSpec, *, without: tuple[str, str] | None = None) -> Iterator[CheckTick]:
    """Yield CheckTick as a role sees it that has the privileges of a job's specification, but for one."""
    name = f"job_{uuid.uuid4().hex[:12]}"
    role = sql.Identifier(name)
    grants = [((SCHEMA, table), OURS[table]) for table in OURS] + [((SCHEMA, "alembic_version"), ("SELECT",))]
    grants += [(("public", table), needs) for table, needs in spec.privileges.items()]
    checktick.connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'made up'").format(role))
    checktick.connection.execute(sql.SQL("GRANT USAGE ON SCHEMA maintenance TO {}").format(role))
    for table, needs in grants:
        wanted = [need for need in needs if (table[1], need) != without]
        if wanted:
            privileges = sql.SQL(", ").join(map(sql.SQL, wanted))
            statement = sql.SQL("GRANT {} ON {} TO {}")
            checktick.connection.execute(statement.format(privileges, sql.Identifier(*table), role))
    parts = urlsplit(checktick.url)
    where = parts.netloc.rpartition("@")[2]
    environ = dict(checktick.environ)
    checktick.environ["CHECKTICK_DATABASE_URL"] = urlunsplit(parts._replace(netloc=f"{name}:made%20up@{where}"))
    try:
        yield checktick
    finally:
        checktick.environ = environ
        checktick.connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        checktick.connection.execute(sql.SQL("DROP ROLE {}").format(role))


def prepare(checktick: CheckTick) -> None:
    """Leave something to do for every job."""
    checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.add_progress(checktick.add_due(), expires_at=checktick.ago(days=1))
    checktick.add_everything(checktick.add_doomed(encrypted_kek_org=b"a key"))
    leave_work(checktick)


@pytest.mark.parametrize("job", SPECS)
def test_a_role_with_the_privileges_of_the_specification_does_the_work(checktick: CheckTick, job: str) -> None:
    prepare(checktick)

    with role_of(checktick, SPECS[job]):
        result = checktick.run(job)

    assert (result.status, result.error) == ("success", None)
    assert any(outcome.changed for outcome in result.outcomes)


@pytest.mark.parametrize(
    ("job", "table", "privilege"),
    [
        ("data_governance", "surveys_survey", "UPDATE"),
        ("data_governance", "surveys_legalhold", "UPDATE"),
        ("data_governance", "surveys_auditlog", "INSERT"),
        ("data_governance", "surveys_collectionitem", "DELETE"),
        ("progress_cleanup", "surveys_surveyprogress", "DELETE"),
    ],
)
def test_a_role_that_lacks_one_is_refused_before_anything_is_done(
    checktick: CheckTick, job: str, table: str, privilege: str
) -> None:
    prepare(checktick)

    with role_of(checktick, SPECS[job], without=(table, privilege)):
        result = checktick.run(job)

    assert result.status == "refused"
    assert f"GRANT {privilege} ON" in (result.error or "")
    assert table in (result.error or "")
    assert checktick.smtp.sent == []
    assert not any(outcome.changed for outcome in result.outcomes)
