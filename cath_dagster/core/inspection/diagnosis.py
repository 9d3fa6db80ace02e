"""Look at a maintained database as a run would find it: what would stop a job, and what would make it slow."""

import shlex
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from cath_dagster.core.errors import SchemaNotCurrentError
from cath_dagster.core.inspection.due_indexes import find_unindexed_questions
from cath_dagster.core.ledger.append_only import find_violation
from cath_dagster.core.maintenance.table_troubles import find_troubles
from cath_dagster.core.maintenance.tables import OURS, SCHEMA, check_current
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.postgres.catalogue import (
    SECONDS_PER_SCANNED_ROW,
    SMALL_TABLE_ROWS,
    create_index,
    find_missing_privileges,
)
from cath_dagster.core.postgres.database import MINIMUM_VERSION
from cath_dagster.core.postgres.followers import find_archiver, find_slots, read_standbys
from cath_dagster.core.postgres.session import SERVICE
from cath_dagster.core.postgres.unindexed import find_unindexed_foreign_keys
from cath_dagster.core.run.search_path import find_elsewhere
from cath_dagster.core.run.spec import JobSpec, purged_tables
from cath_dagster.core.run.table_check import USED

DELETED_ROWS = 1_000
"""The number of deleted rows for which the cost of a missing index is stated."""
IN_PARTS = ("SELECT", "DELETE")
"""What a purge may need on every partition of its table."""


def diagnose(connection: sa.Connection, location: CodeLocation, specs: Sequence[JobSpec]) -> Iterator[Finding]:
    """Yield what there is to say about the database, in the order in which it would stop a run."""
    yield from _server(connection)
    closed = [schema for schema in (SCHEMA, SERVICE) if not _may_use_schema(connection, schema)]
    if closed:
        role = connection.scalar(sa.select(sa.func.current_user()))
        for schema in closed:
            yield Finding(
                subject=f"schema {schema}",
                level=Level.PROBLEM,
                message=f"{role} may not use it",
                remedy=f'GRANT USAGE ON SCHEMA {schema} TO "{role}";',
            )
        return
    revision = list(_privileges(connection, SCHEMA, {"alembic_version": ("SELECT",)}))
    if any(finding.remedy and finding.remedy.startswith("GRANT") for finding in revision):
        yield from revision
        return
    try:
        check_current(connection, location=location.name, revision=location.revision)
    except SchemaNotCurrentError as error:
        says, _, remedy = str(error).rpartition("; run: ")
        yield Finding(subject=f"schema {SCHEMA}", level=Level.PROBLEM, message=says, remedy=remedy)
    else:
        yield Finding(subject=f"schema {SCHEMA}", level=Level.OK, message="is current")
        yield from _privileges(connection, SCHEMA, OURS)
        yield _past(connection, location)
    wanted: dict[str, tuple[str, ...]] = {}
    for spec in specs:
        for table, privileges in spec.privileges.items():
            wanted[table] = tuple(sorted({*wanted.get(table, ()), *privileges}))
    yield from _schema_privileges(connection, wanted.pop(SCHEMA, ()))
    ours = {table.removeprefix(f"{SCHEMA}."): wanted[table] for table in wanted if table.startswith(f"{SCHEMA}.")}
    yield from _privileges(connection, SCHEMA, ours)
    wanted = {table: privileges for table, privileges in wanted.items() if "." not in table}
    yield from _privileges(connection, "public", wanted, in_parts=dict.fromkeys(purged_tables(specs), IN_PARTS))
    yield from _troubles(connection, location, specs)
    yield from _unindexed_foreign_keys(connection, purged_tables(specs))
    yield from _unindexed_cutoffs(connection, specs)
    yield from _unindexed_questions(connection, specs)


def _troubles(connection: sa.Connection, location: CodeLocation, specs: Sequence[JobSpec]) -> Iterator[Finding]:
    """Yield what the tables themselves have against the jobs, as a run asks them."""
    found = [each for spec in specs for each in find_troubles(connection, USED | dict(spec.privileges), spec.targets)]
    if location.is_of_the_orchestrator:
        found += find_elsewhere(connection, [table for spec in specs for table in spec.privileges])
    for trouble in dict.fromkeys(found):
        level = Level.PROBLEM if trouble.refuses else Level.WARNING
        yield Finding(subject=f"table {trouble.table}", level=level, message=trouble.says, remedy=trouble.remedy)


def _past(connection: sa.Connection, location: CodeLocation) -> Finding:
    """The jobs add to the ledger; as a role that could change it they leave no evidence."""
    role = connection.scalar(sa.select(sa.func.current_user())) or ""
    violation = find_violation(connection, role)
    if violation is None:
        return Finding(subject="ledger", level=Level.OK, message=f"{role} cannot change what it says of the past")
    command = f"cath-dagster migrate {location.name} --role"
    if violation.is_by_being_another:
        remedy = f"let the jobs log in as a role of their own; what it needs it gets by: {command} ROLE"
    else:
        remedy = f"logged in as another role, who then owns the tables: {command} {shlex.quote(role)}"
    return Finding(subject="ledger", level=Level.WARNING, message=violation.says, remedy=remedy)


def _schema_privileges(connection: sa.Connection, privileges: tuple[str, ...]) -> Iterator[Finding]:
    for privilege in privileges:
        # Of a schema that is missing nobody can tell; that it is missing has been said.
        holds = sa.func.has_schema_privilege(sa.func.to_regnamespace(SCHEMA), privilege)
        if connection.scalar(sa.select(holds)) is False:
            role = connection.scalar(sa.select(sa.func.current_user()))
            yield Finding(
                subject=f"schema {SCHEMA}",
                level=Level.PROBLEM,
                message=f"{role} may not {privilege} in it",
                remedy=f'GRANT {privilege} ON SCHEMA {SCHEMA} TO "{role}";',
            )


def _may_use_schema(connection: sa.Connection, schema: str) -> bool:
    """Return whether the role may look into the schema, true also where there is none."""
    exists = sa.text(
        "SELECT coalesce((SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = :n), true)"
    )
    return bool(connection.scalar(exists, {"n": schema}))


def _server(connection: sa.Connection) -> Iterator[Finding]:
    version, said, in_recovery = connection.execute(
        sa.text("SELECT current_setting('server_version_num')::int, version(), pg_is_in_recovery()")
    ).one()
    name = said.split(" on ")[0]
    if version < MINIMUM_VERSION:
        yield Finding(
            subject="server",
            level=Level.PROBLEM,
            message=f"{name} has no TID range scans",
            remedy="upgrade to 14 or later",
        )
    elif in_recovery:
        yield Finding(
            subject="server", level=Level.PROBLEM, message=f"{name} is a read-only replica", remedy="name the primary"
        )
    else:
        yield Finding(subject="server", level=Level.OK, message=name)
    yield _pooling(connection)
    yield from _followers(connection)


def _pooling(connection: sa.Connection) -> Finding:
    """A pooler that keeps no session has been refused by now; the driver was told another process than the one at work."""
    told = getattr(connection.connection.driver_connection, "info", None)
    is_direct = told is None or told.backend_pid == connection.scalar(sa.text("SELECT pg_backend_pid()"))
    says = "keeps its session" if is_direct else "goes through a pooler, and keeps its session"
    return Finding(subject="connection", level=Level.OK, message=says)


def _followers(connection: sa.Connection) -> Iterator[Finding]:
    """Whom a COMMIT would wait for, what is kept for slots, and how much of all that the role is shown."""
    standbys = read_standbys(connection)
    if standbys.missing:
        yield Finding(subject="standbys", level=Level.PROBLEM, message=standbys.says, remedy=standbys.remedy)
    for slot in find_slots(connection):
        level = Level.PROBLEM if slot.refuses else Level.WARNING
        yield Finding(subject=f"slot {slot.name}", level=level, message=slot.says, remedy=slot.remedy)
    archiver = find_archiver(connection)
    if archiver is not None:
        level = Level.PROBLEM if archiver.refuses else Level.WARNING
        yield Finding(subject="archiver", level=level, message=archiver.says, remedy=archiver.remedy)
    if standbys.sees_all:
        yield Finding(subject="other sessions", level=Level.OK, message=f"{standbys.role} sees what they wait for")
        return
    blind = f", nor how far {standbys.unseen} of {standbys.count} standbys are behind" if standbys.unseen else ""
    certain = ", and nobody can tell whether a synchronous standby is there" if standbys.awaited else ""
    yield Finding(
        subject="other sessions",
        level=Level.WARNING if blind or certain else Level.OK,
        message=(
            f"{standbys.role} sees their locks only: a polite purge does not notice that they wait for the disk"
            f"{blind}{certain}"
        ),
        remedy=f'GRANT pg_read_all_stats TO "{standbys.role}";',
    )


def _privileges(
    connection: sa.Connection,
    schema: str,
    wanted: dict[str, tuple[str, ...]],
    *,
    in_parts: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[Finding]:
    lacking = find_missing_privileges(connection, schema, wanted, in_parts=in_parts)
    missing = {found.table: found for found in lacking if not found.partition_of}
    for table, privileges in sorted(wanted.items()):
        found = missing.get(table)
        if found is None:
            yield Finding(subject=f"table {table}", level=Level.OK, message=f"may {', '.join(privileges)}")
        else:
            yield Finding(subject=f"table {table}", level=Level.PROBLEM, message=found.says, remedy=found.remedy)
    for found in lacking:
        if found.partition_of:
            yield Finding(subject=f"table {found.table}", level=Level.PROBLEM, message=found.says, remedy=found.remedy)


def _unindexed_foreign_keys(connection: sa.Connection, parents: Sequence[str]) -> Iterator[Finding]:
    for key in find_unindexed_foreign_keys(connection, parents, with_cascades=True):
        seconds = key.seconds_per_parent
        yield Finding(
            subject=f"foreign key {key.name}",
            level=Level.WARNING if key.child_rows > SMALL_TABLE_ROWS else Level.OK,
            message=(
                f"no index: each deleted {key.parent} row scans {key.child_rows:,} rows of {key.child}, about "
                f"{seconds * 1_000:.1f} ms; {DELETED_ROWS:,} deleted rows cost {seconds * DELETED_ROWS:,.1f} s more"
            ),
            remedy=key.create_index,
        )


def _unindexed_questions(connection: sa.Connection, specs: Sequence[JobSpec]) -> Iterator[Finding]:
    intervals = {spec.key: spec.schedule_text for spec in specs}
    for asked in find_unindexed_questions(connection, specs):
        yield Finding(
            subject=f"question {asked.name}",
            level=Level.WARNING if asked.child_rows > SMALL_TABLE_ROWS else Level.OK,
            message=f"no index: {asked.job} asks {intervals[asked.job]} whether anything is due, and reads "
            f"{asked.child_rows:,} rows of {asked.child}, about {asked.child_rows * SECONDS_PER_SCANNED_ROW * 1_000:.0f} ms",
            remedy=asked.create_index,
        )


def _unindexed_cutoffs(connection: sa.Connection, specs: Sequence[JobSpec]) -> Iterator[Finding]:
    cutoffs = {item for spec in specs if spec.database is not None for item in spec.database.age_columns.items()}
    for table, column in sorted(cutoffs):
        is_indexed, rows = connection.execute(
            sa.text(
                """
                SELECT bool_or(index_of.indexrelid IS NOT NULL), max(greatest(relation.reltuples, 0))::bigint
                FROM pg_class AS relation
                JOIN pg_attribute AS column_of ON column_of.attrelid = relation.oid AND column_of.attname = :column
                LEFT JOIN pg_index AS index_of ON index_of.indrelid = relation.oid AND index_of.indisvalid
                  AND index_of.indkey[0] = column_of.attnum
                WHERE relation.oid = to_regclass(:table)
                """
            ),
            {"table": f'public."{table}"', "column": column},
        ).one()
        if is_indexed is None or is_indexed:
            continue
        seconds = rows * SECONDS_PER_SCANNED_ROW
        yield Finding(
            subject=f"cutoff {table}.{column}",
            level=Level.OK,
            message=f"no index: every run reads {rows:,} rows of {table} twice, about {2 * seconds * 1_000:.0f} ms",
            remedy=create_index("public", table, column),
        )
