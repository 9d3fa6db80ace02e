"""Foretell a job that changes rows first and deletes them later: when each part takes a row that is there.

The deletion's own predicate is asked about the row as the change will have left it: with the values that the change writes
in place of its columns. So what is foretold is the job's rules, and no second statement of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.run.job_parts import Change
from cath_dagster.core.run.spec import JobSpec

Turn = Callable[[Purge, Change], Purge]


@dataclass(frozen=True)
class _Then:
    """What a run plans with at another reference time."""

    as_of: datetime
    environ: Mapping[str, str]
    run_id: str


def of_change(spec: JobSpec) -> JobSpec:
    """Return a job whose purges take what the job's change takes, and what would go along with that."""
    return _turned(spec, lambda purge, change: _taking(purge, change.rule, change.predicate, change.conditions))


def of_changed(spec: JobSpec) -> JobSpec:
    """Return a job whose purges take whatever the change has been made to already."""
    return _turned(spec, lambda purge, change: _taking(purge, change.rule, change.is_made, {}))


def after_change(spec: JobSpec, at: datetime) -> JobSpec:
    """Return a job whose purges judge rows as a change of that reference time leaves them."""
    return _turned(spec, _after, at)


def _turned(spec: JobSpec, turn: Turn, at: datetime | None = None) -> JobSpec:
    work = spec.database
    if work is None or work.change is None:
        return spec
    change_at = work.change

    def purges(planning: Planning, settings: Any) -> Sequence[Purge]:
        changing = planning if at is None else _Then(at, planning.environ, planning.run_id)
        change = change_at(changing, settings)
        found = spec.purges_at(planning, settings) or ()
        return [turn(purge, change) if purge.table is change.table else purge for purge in found]

    return replace(spec, database=replace(work, purges=purges, change=None))


def _taking(
    purge: Purge, rule: str, predicate: sa.ColumnElement[bool], conditions: Mapping[str, sa.ColumnElement[bool]]
) -> Purge:
    return replace(purge, rule=rule, predicate=predicate, conditions=dict(conditions))


def _after(purge: Purge, change: Change) -> Purge:
    conditions = {words: _as_changed(condition, change) for words, condition in purge.conditions.items()}
    return replace(purge, predicate=_as_changed(purge.predicate, change), conditions=conditions)


def _as_changed(condition: sa.ColumnElement[bool], change: Change) -> sa.ColumnElement[bool]:
    def put(element: Any, **_: Any) -> Any:
        return (
            change.values.get(element.key) if isinstance(element, sa.Column) and element.table is change.table else None
        )

    # Selects from the table keep it in their FROM by its key, which no change writes.
    changed: sa.ColumnElement[bool] = visitors.replacement_traverse(condition, {}, put)
    return changed
