"""The text of a job that purges one table by the age of its rows."""

import textwrap
from collections.abc import Mapping

from cath_dagster.development.new_job.facts import Referring, Target
from cath_dagster.development.new_job.names import Order

DESCRIPTION_WIDTH = 105
"""Characters of a line of prose, within the parentheses of a call."""
_JOB = '''"""Purge {table} rows that are older than their retention period."""

from datetime import timedelta
{imports}
from pydantic import Field

from {package} import {constant}, OWNER
from {package}.tables import {variables}
{from_core}
from cath_dagster.core.model.settings import Days, PurgeSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec


class {settings}(PurgeSettings):
    """How long rows of {table} are kept."""

    retention_days: Days = Field(default={days}, description="{setting}")


def {job}(run: JobRun, settings: {settings}) -> None:
    """Purge the rows that are strictly older than the retention period{along}."""
    for planned in run.plan(*purges(run, settings)):
        run.purge(planned)


def purges(planning: Planning, settings: {settings}) -> list[Purge]:
    """Return the purge of the expired rows{held}."""
    cutoff = planning.as_of - timedelta(days=settings.retention_days)
    return [
        Purge(
            table={variable},
            rule=f"{table} rows older than {{settings.retention_days}} days",
            predicate={by} < {compared},
            cutoff=cutoff,
            age={age},
            {children}
        )
    ]


SPEC = JobSpec(
    location={constant},
    name="{job}",
    schedule=Cron("{cron}"),
    owner=OWNER,
    summary="{summary}",
    description=({description}),
    settings={settings},
    run={job},
    database=DatabaseWork(
        targets=({targets}),
        purges=purges,
        privileges={{{privileges}}},
        age_columns={{"{table}": "{by_name}"}},
    ),
)
'''


def render_job(order: Order, target: Target, names: Mapping[str, str]) -> str:
    """Return the job's file."""
    table, by = target.table.name, _column(names[target.table.name], target.by.name)
    goes = [name for name, goes_along in target.others.items() if goes_along]
    holding = sorted({each.table.name for each in target.every() if not each.goes_along})
    is_date = target.by.type_name == "date"
    return _JOB.format(
        table=table,
        job=order.job,
        package=order.location.package,
        constant=order.constant,
        settings=order.settings,
        days=order.days,
        cron=order.cron,
        variable=names[table],
        variables=", ".join(sorted({names[table], *(names[name] for name in goes)})),
        imports=_imports(order, is_date=is_date),
        from_core=_from_core(target, has_children=bool(goes)),
        setting=f"Days{'' if is_date else ' of 24 hours'} for which rows of {table} are kept, by {target.by.name}.",
        along=", and what goes along" if goes else "",
        held=f"; those that {_listed(holding)} refers to are held by its key" if holding else "",
        by=by,
        compared=_compared(order, target.by.type_name),
        age=f"sa.cast({by}, sa.DateTime)" if is_date else by,
        children=_children(target.referring, names),
        summary=f"Purges {table} rows older than {order.days} days.",
        description=_description(order, target, goes, holding),
        targets=", ".join(f'"{name}"' for name in (table, *goes)) + ("" if goes else ","),
        privileges=_privileges(target),
        by_name=target.by.name,
    )


def _imports(order: Order, *, is_date: bool) -> str:
    zone = "from zoneinfo import ZoneInfo\n" if is_date and order.location.timezone != "UTC" else ""
    return f"{zone}\nimport sqlalchemy as sa" if is_date else ""


def _from_core(target: Target, *, has_children: bool) -> str:
    naive = "from cath_dagster.core.instants import naive_utc\n" if target.by.type_name == "timestamp" else ""
    purge = f"from cath_dagster.core.model.purge import {'Child, ' if has_children else ''}Planning, Purge\n"
    return f"{naive}{purge}from cath_dagster.core.model.schedule import Cron"


def _compared(order: Order, type_name: str) -> str:
    """Return what the column is compared with: an instant, a naive one in UTC, or a day where the service is."""
    if type_name == "timestamp":
        return "naive_utc(cutoff)"
    if type_name == "timestamptz":
        return "cutoff"
    if order.location.timezone == "UTC":
        return "cutoff.date()"
    return f"cutoff.astimezone(ZoneInfo({order.constant}.timezone)).date()"


def _children(referring: tuple[Referring, ...], names: Mapping[str, str]) -> str:
    found = ", ".join(_child(each, names) for each in referring if each.goes_along)
    return f"children=({found},)," if found else ""


def _child(each: Referring, names: Mapping[str, str]) -> str:
    variable = names[each.table.name]
    below = _children(each.children, names)
    return f"Child({variable}, {_column(variable, each.column.name)}{', ' + below if below else ''})"


def _column(variable: str, name: str) -> str:
    # What a collection of columns has itself is no attribute for a column of that name.
    is_plain = name.isidentifier() and name not in ("keys", "values", "items", "get", "add", "contains_column")
    return f"{variable}.c.{name}" if is_plain else f'{variable}.c["{name}"]'


def _description(order: Order, target: Target, goes: list[str], holding: list[str]) -> str:
    along = f", with their rows of {_listed(goes)}" if goes else ""
    parts = [
        f"Deletes rows of {target.table.name} whose {target.by.name} is more than {order.days} days ago{along}.",
        *([f"A row that one of {_listed(holding)} refers to is kept and reported."] if holding else []),
        "Deleted rows cannot be brought back, unless undo_days is set.",
    ]
    *lines, last = textwrap.wrap(" ".join(parts), DESCRIPTION_WIDTH)
    return "\n".join((*(f'"{line} "' for line in lines), f'"{last}"'))


def _privileges(target: Target) -> str:
    # Rows that others may hold, or take along, are locked before they are judged.
    own = ("SELECT", "UPDATE", "DELETE") if target.referring else ("SELECT", "DELETE")
    wanted = {target.table.name: own} | {
        name: ("SELECT", "DELETE") if goes_along else ("SELECT",) for name, goes_along in target.others.items()
    }
    return ", ".join(f'"{name}": {needs!r}' for name, needs in wanted.items())


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
