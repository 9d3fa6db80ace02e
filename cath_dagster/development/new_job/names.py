"""How what is written is called, and what it must not be called."""

import builtins
import keyword
import re
from dataclasses import dataclass
from types import ModuleType

import sqlalchemy as sa

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.postgres.session import SERVICE
from cath_dagster.development.new_job.facts import Target
from cath_dagster.registry import all_specs

MOST_DAYS = 36_500
_NAME = re.compile(r"[a-z][a-z0-9_]{2,39}")
_TAKEN = frozenset({"purges", "cutoff", "planning", "planned", "settings", "timedelta", "naive_utc"})
"""Names that the job's file has for something else."""


@dataclass(frozen=True)
class Order:
    """What is asked for. The job's name is that of its file, its function, its schedule and its tests."""

    location: CodeLocation
    job: str
    table: str
    by: str
    days: int
    cron: str

    @property
    def constant(self) -> str:
        return self.location.prefix

    @property
    def settings(self) -> str:
        return "".join(part.capitalize() for part in self.job.split("_")) + "Settings"


def check_order(order: Order) -> None:
    """Raise `ConfigurationError` for what cannot be written whatever the table is."""
    if order.location.is_of_the_orchestrator:
        raise ConfigurationError(
            f"{order.location.name} looks after the orchestrator's own database; its jobs are written by hand"
        )
    if not _NAME.fullmatch(order.job) or keyword.iskeyword(order.job) or order.job in _TAKEN:
        raise ConfigurationError(
            f"{order.job!r} cannot be a job's name; take 3 to 40 small letters, digits and underscores, such as session_cleanup"
        )
    taken = next((spec.key for spec in all_specs() if spec.name == order.job), None)
    if taken:
        raise ConfigurationError(
            f"there is a job {taken} already; people call jobs by their name alone, so take another"
        )
    if not 1 <= order.days <= MOST_DAYS:
        raise ConfigurationError(f"{order.days} days; rows are kept for 1 to {MOST_DAYS:,} days")


def name_tables(order: Order, target: Target, tables: ModuleType) -> dict[str, str]:
    """Return by which variable of `tables.py` each table is known, or is to be.

    Raises `ConfigurationError` where the job and a table would have one name.
    """
    known = {
        table.name: variable
        for variable, table in vars(tables).items()
        if isinstance(table, sa.Table) and table.schema == SERVICE
    }
    named = {}
    for table in (target.table.name, *target.others):
        variable = known.get(table) or _variable(table, tables)
        if variable == order.job:
            raise ConfigurationError(
                f"the table {table} is known as {variable} in {tables.__name__}; name the job after what it does"
            )
        named[table] = variable
    return named


def _variable(table: str, tables: ModuleType) -> str:
    name = re.sub(r"\W", "_", table.lower())
    is_free = name.isidentifier() and not (keyword.iskeyword(name) or hasattr(builtins, name) or hasattr(tables, name))
    return name if is_free and name not in _TAKEN else f"{name}_table"
