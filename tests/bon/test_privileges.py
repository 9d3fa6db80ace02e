"""Each job needs the privileges that its specification names, and no other."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

import pytest
from psycopg import sql

from cath_dagster.bon import BON
from cath_dagster.core.maintenance.tables import OURS, SCHEMA
from cath_dagster.core.run.spec import JobSpec, load_specs
from tests.bon.bon import Bon
from tests.support.bon_work import prepare

SPECS = {spec.name: spec for spec in load_specs(BON)}


@contextlib.contextmanager
def role_of(bon: Bon, spec: JobSpec, *, without: tuple[str, str] | None = None) -> Iterator[Bon]:
    """Yield BON as a role sees it that has the privileges of a job's specification, but for one."""
    name = f"job_{uuid.uuid4().hex[:12]}"
    role = sql.Identifier(name)
    grants = [((SCHEMA, table), OURS[table]) for table in OURS] + [((SCHEMA, "alembic_version"), ("SELECT",))]
    grants += [(("public", table), needs) for table, needs in spec.privileges.items()]
    bon.connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'made up'").format(role))
    bon.connection.execute(sql.SQL("GRANT USAGE ON SCHEMA maintenance TO {}").format(role))
    for table, needs in grants:
        wanted = [need for need in needs if (table[1], need) != without]
        if wanted:
            privileges = sql.SQL(", ").join(map(sql.SQL, wanted))
            statement = sql.SQL("GRANT {} ON {} TO {}")
            bon.connection.execute(statement.format(privileges, sql.Identifier(*table), role))
    parts = urlsplit(bon.url)
    where = parts.netloc.rpartition("@")[2]
    url = urlunsplit(parts._replace(netloc=f"{name}:made%20up@{where}"))
    try:
        yield replace(bon, environ=bon.environ | {"BON_DATABASE_URL": url})
    finally:
        bon.connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        bon.connection.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.mark.parametrize("job", SPECS)
def test_a_role_with_the_privileges_of_the_specification_does_the_work(bon: Bon, job: str) -> None:
    prepare(bon)

    with role_of(bon, SPECS[job]) as limited:
        result = limited.run(job)

    assert (result.status, result.error) == ("success", None)
    assert any(outcome.changed for outcome in result.outcomes)


@pytest.mark.parametrize(
    ("job", "table", "privilege"),
    [
        ("overdue_detection", "invoices", "UPDATE"),
        ("overdue_detection", "users", "SELECT"),
        ("shaam_token_refresh", "business_shaam_credentials", "UPDATE"),
        ("draft_cleanup", "invoice_items", "DELETE"),
        ("session_cleanup", "sessions", "DELETE"),
    ],
)
def test_a_role_that_lacks_one_is_refused_before_anything_is_done(
    bon: Bon, job: str, table: str, privilege: str
) -> None:
    prepare(bon)

    with role_of(bon, SPECS[job], without=(table, privilege)) as limited:
        result = limited.run(job)

    assert result.status == "refused"
    assert f"GRANT {privilege} ON" in (result.error or "")
    assert table in (result.error or "")
    assert bon.provider.requests == []
    assert bon.smtp.sent == []
    assert not any(outcome.changed for outcome in result.outcomes)
