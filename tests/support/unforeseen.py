"""A foreign key that nobody foresaw, to a table from which a job deletes; and what every job must make of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.inspection.reference_findings import reference_findings
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.model.purge import Child
from cath_dagster.core.model.settings import read_settings
from cath_dagster.core.roles.required_privileges import Moment
from cath_dagster.core.run.spec import JobSpec, load_specs, purged_tables
from tests.support.expired import add_expired
from tests.support.maintained import Maintained, outcome

KEY = "nobody_foresaw_this"
CHECKED_APART = ("data_governance", "conversation_retention")
"""One has a policy for every foreign key, the other changes rows along with those that it deletes: each has tests of its own."""


@dataclass(frozen=True)
class Case:
    """A table from which a job deletes. `config` is what a run is told besides."""

    job: str
    table: str
    config: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.job}-{self.table}"


def cases(location: CodeLocation, moment: Moment, **config: dict[str, Any]) -> list[Case]:
    """Return a case for every job of a location and every table of which it takes rows."""
    return [
        Case(spec.name, table, config.get(spec.name, {}))
        for spec in load_specs(location)
        if spec.name not in CHECKED_APART
        for table in dict.fromkeys(_tables(spec, moment))
    ]


def _tables(spec: JobSpec, moment: Moment) -> Iterator[str]:
    def along(children: Sequence[Child]) -> Iterator[str]:
        for child in children:
            yield child.table.name
            yield from along(child.children)

    settings = read_settings(spec.settings, {}, location=spec.location.name, job=spec.name, environ=moment.environ)
    purges = spec.purges_at(moment, settings)
    if purges is None:
        yield from purged_tables([spec])
        return
    for purge in purges:
        # Tables of our own are for nobody to refer to.
        if purge.table.schema != SCHEMA:
            yield purge.table.name
            yield from along(purge.children)


def refer(service: Maintained, case: Case, on_delete: str) -> None:
    """Let a new table refer to one row of the case's, by its primary key."""
    table = case.table
    if not service.count(f'"{table}"'):
        # A job of which no builder of the location's tests knows.
        add_expired(service, next(spec for spec in load_specs(service.location) if spec.name == case.job), times=3)
    column, kind = service.rows(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_index JOIN pg_attribute"
        " ON attrelid = indrelid AND attnum = indkey[0]"
        " WHERE indisprimary AND indrelid = to_regclass(quote_ident(%s))",
        table,
    )[0]
    names = {"table": sql.Identifier(table), "column": sql.Identifier(column), "kind": sql.SQL(kind)}
    create = sql.SQL(
        "CREATE TABLE unforeseen (row {kind} PRIMARY KEY CONSTRAINT " + KEY + " REFERENCES {table} {on_delete})"
    )
    service.connection.execute(create.format(**names, on_delete=sql.SQL(on_delete)))
    fill = sql.SQL("INSERT INTO unforeseen SELECT {column} FROM {table} ORDER BY CAST({column} AS text) LIMIT 1")
    service.connection.execute(fill.format(**names))
    assert service.count("unforeseen") == 1, "the test's rows leave the table empty"


def findings(service: Maintained) -> list[Finding]:
    """Return what the doctor says of the key."""
    engine = open_engine(service.url, variable="URL", application_name="doctor")
    with engine.connect() as connection:
        moment = Moment(service.as_of, service.environ, "doctor")
        found = list(reference_findings(connection, load_specs(service.location), moment))
    engine.dispose()
    return [finding for finding in found if KEY in finding.message]


def holds_one_row(service: Maintained, case: Case) -> None:
    """Assert that a run keeps what the key holds, says so, and lets the others go; and that a dry run foretells it."""
    refer(service, case, "")

    plan = service.run(case.job, dry_run=True, **case.config)
    found = findings(service)
    result = service.run(case.job, **case.config)

    assert (plan.status, plan.would_refuse, result.status) == (Status.SUCCESS, None, Status.SUCCESS)
    assert service.count("unforeseen") == 1
    assert sum(each.kept for each in _of_database(service, result)) == 1
    assert sum(each.deleted for each in _of_database(service, result)) > 0
    assert _notes(plan) == _notes(result)
    assert len(_notes(result)) == 1
    told = {each.target: each.matched for each in _of_database(service, plan) if each.matched}
    assert told == {each.target: each.deleted for each in _of_database(service, result) if each.deleted}
    assert [finding.subject for finding in found] == ["reference unforeseen.row"] * len(found) != []


def refuses_to_lose_rows(service: Maintained, case: Case) -> None:
    """Assert that a run refuses before it deletes anything, and goes with the key allowed, the rows counted."""
    refer(service, case, "ON DELETE CASCADE")
    before = service.count(f'"{case.table}"')

    plan = service.run(case.job, dry_run=True, **case.config)
    found = findings(service)
    result = service.run(case.job, **case.config)

    assert (plan.status, result.status) == (Status.SUCCESS, Status.REFUSED)
    assert plan.would_refuse == result.error
    assert KEY in (result.error or "")
    assert service.count(f'"{case.table}"') == before
    assert Level.PROBLEM in {finding.level for finding in found if case.job in finding.subject}
    allowed = {**case.config, "allow_cascades": KEY, "archive_personal_data_because": "a test"}
    foretold = service.run(case.job, dry_run=True, **allowed)
    done = service.run(case.job, **allowed)
    assert (done.status, outcome(foretold, "unforeseen").matched) == (Status.SUCCESS, 1), done.error
    assert outcome(done, "unforeseen").deleted == 1
    assert service.ledger(done.run_id)["unforeseen"][3] == 1


def _notes(result: RunResult) -> list[str]:
    return [note for note in result.notes if KEY in note]


def _of_database(service: Maintained, result: RunResult) -> list[Any]:
    tables = {row[0] for row in service.rows("SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p')")}
    return [each for each in result.outcomes if each.target in tables and (each.matched or each.deleted or each.kept)]


Assertion = Callable[[Maintained, Case], None]
EFFECTS: tuple[Assertion, ...] = (holds_one_row, refuses_to_lose_rows)
