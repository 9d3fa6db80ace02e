"""State in a service's `tables.py` what a job uses of its tables, as far as it does not stand there."""

from collections.abc import Iterator, Mapping
from types import ModuleType

import sqlalchemy as sa

from cath_dagster.core.archive.obstacles import PERSONAL
from cath_dagster.development.new_job.edits import Module
from cath_dagster.development.new_job.facts import ColumnFacts, TableFacts, Target


def state_tables(module: Module, tables: ModuleType, target: Target, names: Mapping[str, str]) -> list[TableFacts]:
    """Add what is missing of every table that the job uses; return those of which it is new what is personal."""
    judged = []
    instant = f"sa.{vars(tables)['_INSTANT']!r}" if "_INSTANT" in vars(tables) else ""
    for facts, columns, is_purged in _wanted(target):
        stated = vars(tables).get(names[facts.name])
        if isinstance(stated, sa.Table):
            is_new = _complete(module, stated, names[facts.name], facts, columns, is_purged=is_purged, instant=instant)
        else:
            module.append(_render(facts, columns, names[facts.name], is_purged=is_purged, instant=instant))
            is_new = is_purged
        if is_new and facts.personal:
            judged.append(facts)
    if f"{PERSONAL.upper()}:" in module.text:
        module.imports("from cath_dagster.core.archive.obstacles import PERSONAL")
    return judged


def _wanted(target: Target) -> Iterator[tuple[TableFacts, list[ColumnFacts], bool]]:
    """Yield each table once with its columns that the job uses, and whether the job deletes from it."""
    tables = {target.table.name: target.table} | {each.table.name: each.table for each in target.every()}
    purged = {target.table.name, *(name for name, goes_along in target.others.items() if goes_along)}
    for name, facts in tables.items():
        used = {facts.key.name: facts.key}
        used |= {target.by.name: target.by} if name == target.table.name else {}
        used |= {each.column.name: each.column for each in target.every() if each.table.name == name}
        yield facts, list(used.values()), name in purged


def _complete(
    module: Module,
    stated: sa.Table,
    variable: str,
    facts: TableFacts,
    columns: list[ColumnFacts],
    *,
    is_purged: bool,
    instant: str,
) -> bool:
    for column in columns:
        if column.name not in stated.c:
            module.add_argument(variable, _column(column, facts, instant))
    return is_purged and PERSONAL not in stated.info and module.add_keyword(variable, _personal(facts))


def _render(facts: TableFacts, columns: list[ColumnFacts], variable: str, *, is_purged: bool, instant: str) -> str:
    lines = [f'"{facts.name}"', "METADATA", *(_column(column, facts, instant) for column in columns)]
    if is_purged:
        lines.append(_personal(facts))
    return f"{variable} = sa.Table({', '.join(lines)},)"


def _column(column: ColumnFacts, facts: TableFacts, instant: str) -> str:
    kind = "_INSTANT" if column.kind == instant else column.kind
    more = ", primary_key=True" if column == facts.key else ", nullable=False" if column.is_required else ""
    return f'sa.Column("{column.name}", {kind}{more})'


def _personal(facts: TableFacts) -> str:
    names = "".join(f'"{name}", ' for name in facts.personal)
    return f"info={{PERSONAL: ({names.rstrip() if len(facts.personal) == 1 else names.rstrip(', ')})}}"
