"""A role with what one job of CheckTick says that it needs."""

import contextlib
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

from psycopg import sql

from cath_dagster.checktick import CHECKTICK
from cath_dagster.core.maintenance.tables import OURS, SCHEMA
from cath_dagster.core.run.spec import JobSpec, load_specs
from tests.checktick.checktick import CheckTick

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
