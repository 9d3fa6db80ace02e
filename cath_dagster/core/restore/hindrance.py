"""Say by kind what keeps a row from coming back, and by which constraint, column or trigger; never a value of it."""

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError

from cath_dagster.core.postgres.database import sqlstate

ROW_REFUSED = ("22", "23", "44", "P0")
"""Classes of errors that are one row's fault: a value, a constraint, a view's check, a trigger that raises."""


class Kind(enum.StrEnum):
    """What is in a row's way."""

    GONE = "the row that they refer to is gone"
    TAKEN = "another row has what only one may have"
    RULE = "a constraint does not hold of them"
    EMPTY = "a column must have a value now, and theirs is NULL"
    VALUE = "a value does not fit into its column"
    UNPLACED = "no partition takes them now"
    RAISED = "a trigger refuses them"
    KEPT_OUT = "a trigger or rule keeps them out"


BY_STATE = {
    "23502": Kind.EMPTY,
    "23503": Kind.GONE,
    "23505": Kind.TAKEN,
    "23514": Kind.RULE,
    "23P01": Kind.TAKEN,
    "44000": Kind.RULE,
}


@dataclass(frozen=True)
class Hindrance:
    """What is in a row's way, and the name of what says so."""

    kind: Kind
    name: str = ""

    @property
    def says(self) -> str:
        return f"{self.kind.value} ({self.name})" if self.name else self.kind.value


def hindrance_of(error: DBAPIError) -> Hindrance | None:
    """Return what kept a row out, None for an error that is not the row's own."""
    state = sqlstate(error) or ""
    if not state.startswith(ROW_REFUSED):
        return None
    diagnostic: Any = getattr(error.orig, "diag", None)
    names = (getattr(diagnostic, name, None) for name in ("constraint_name", "column_name"))
    name = next((name for name in names if name), None)
    if state == "23514" and name is None:
        return Hindrance(Kind.UNPLACED)
    kind = BY_STATE.get(state, Kind.VALUE if state.startswith("22") else Kind.RAISED)
    return Hindrance(kind, name or state)


def by_kind(hindrances: Iterable[Hindrance]) -> list[str]:
    """Return in words how many rows each hindrance keeps out, the most first."""
    return [f"{count:,}: {hindrance.says}" for hindrance, count in Counter(hindrances).most_common()]
