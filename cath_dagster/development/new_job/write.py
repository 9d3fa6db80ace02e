"""Write a job into this checkout: nothing is written before all of it is known to be writable."""

import importlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.location import CodeLocation, package_folder
from cath_dagster.core.model.ticks import is_cron
from cath_dagster.core.postgres.database import translate
from cath_dagster.development.local import REPOSITORY
from cath_dagster.development.new_job.edits import Module
from cath_dagster.development.new_job.facts import TableFacts, Target, read_target
from cath_dagster.development.new_job.job import render_job
from cath_dagster.development.new_job.job_test import render_test
from cath_dagster.development.new_job.names import Order, check_order, name_tables
from cath_dagster.development.new_job.source import catalogue_of
from cath_dagster.development.new_job.tables import state_tables


@dataclass(frozen=True)
class Written:
    """What was written, and what is left to whoever asked for it."""

    source: str
    paths: tuple[Path, ...]
    next_steps: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        yield f"read from {self.source}"
        yield from (f"wrote {path.relative_to(REPOSITORY)}" for path in self.paths)
        yield "next:"
        yield from (f"  {step}" for step in self.next_steps)


def write_job(order: Order) -> Written:
    """Write the job, its table, its test, and what lists it; raise `ConfigurationError` for what cannot be done."""
    if not (REPOSITORY / "tests").is_dir():
        raise ConfigurationError(f"{REPOSITORY} is no checkout of cath-dagster; new-job writes into one")
    check_order(order)
    if not is_cron(order.cron):
        raise ConfigurationError(f"{order.cron!r} is no cron; write it in five fields, like '0 4 * * *'")
    folder = package_folder(order.location.package)
    job, test = folder / f"jobs/{order.job}.py", REPOSITORY / f"tests/{order.location.name}/test_{order.job}.py"
    for path in (job, test):
        if path.exists():
            raise ConfigurationError(f"{path.relative_to(REPOSITORY)} is there already; take another name")
    target, source = _read(order)
    stated = importlib.import_module(f"{order.location.package}.tables")
    names = name_tables(order, target, stated)
    tables = Module.read(folder / "tables.py")
    judged = state_tables(tables, stated, target, names)
    modules = [
        Module(job, render_job(order, target, names), is_changed=True),
        Module(test, render_test(order, target), is_changed=True),
        tables,
        *_listed_assets(order.location, folder / "assets.py", target),
    ]
    paths = [module.path for module in modules if module.is_changed]
    for module in modules:
        if module.is_changed:
            module.path.parent.mkdir(exist_ok=True)
            module.write()
    is_formatted = _format(paths)
    _python("-m", "cath_dagster.development.documentation")
    documents = (REPOSITORY / "README.md", REPOSITORY / "docs/jobs.txt")
    return Written(
        source, (*paths, *documents), tuple(_next_steps(order, target, test, judged, is_formatted=is_formatted))
    )


def _read(order: Order) -> tuple[Target, str]:
    try:
        with catalogue_of(order.location) as (connection, source):
            return read_target(connection, order.table, order.by), source
    except DBAPIError as error:
        raise translate(error) from None


def _listed_assets(location: CodeLocation, path: Path, target: Target) -> Iterator[Module]:
    """Yield the module that lists the location's tables as assets, with those that it lacks."""
    listed = importlib.import_module(f"{location.package}.assets").TABLES
    module = Module.read(path)
    purged = (target.table.name, *(name for name, goes_along in target.others.items() if goes_along))
    for name in sorted(set(purged) - set(listed)):
        words = name.replace("_", " ").strip()
        module.add_entry("TABLES", name, f"{words[:1].upper()}{words[1:]}.")
    yield module


def _format(paths: list[Path]) -> bool:
    """Format what was written; return whether the formatter is here."""
    names = [str(path) for path in paths]
    checked = _python("-m", "ruff", "check", "--quiet", "--fix", "--select", "I,F401,RUF100", *names)
    return checked and _python("-m", "ruff", "format", "--quiet", *names)


def _python(*arguments: str) -> bool:
    done = subprocess.run(  # noqa: S603 - our own tools
        [sys.executable, *arguments], cwd=REPOSITORY, check=False, capture_output=True
    )
    return done.returncode == 0


def _next_steps(
    order: Order, target: Target, test: Path, judged: Sequence[TableFacts], *, is_formatted: bool
) -> Iterator[str]:
    if not is_formatted:
        yield "make format"
    if personal := [f"{table.name} ({', '.join(table.personal)})" for table in judged]:
        path = order.location.package.replace(".", "/")
        yield f"say in {path}/tables.py which columns hold personal data; as it stands, of {'; '.join(personal)}"
    yield f"read jobs/{order.job}.py: its description speaks to operators, and its schedule is {order.cron!r}"
    holding = sorted({each.table.name for each in target.every() if not each.goes_along})
    if holding:
        yield f"decide whether rows that {', '.join(holding)} refers to are to be kept, as they are now"
    yield f"make check && pytest {test.relative_to(REPOSITORY)} tests/{order.location.name}"
    yield f"cath-dagster plan {order.location.name}/{order.job}"
