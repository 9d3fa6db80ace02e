"""Which secrets never leave for GitHub: those whose names match a pattern of the service's, everywhere or in one project."""

import re
import warnings
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.cloudmake.tables import secret_exclusion_patterns as patterns
from cath_dagster.core.errors import PreflightError

OWN_PREFIX = "GITHUB_"
"""GitHub takes no such name."""


@dataclass(frozen=True)
class Exclusions:
    """Patterns by the project that they are for, None for all."""

    patterns: tuple[tuple[UUID | None, re.Pattern[str]], ...]

    def exclude(self, project_id: UUID, name: str) -> bool:
        """Return whether a name may not leave: any pattern that is found anywhere in it, in its own case."""
        return name.startswith(OWN_PREFIX) or any(
            owner in (None, project_id) and pattern.search(name) for owner, pattern in self.patterns
        )


def read_exclusions(connection: sa.Connection) -> Exclusions:
    """Return all patterns; raise `PreflightError` naming those that cannot be read: what they exclude is not known."""
    query = sa.select(patterns.c.id, patterns.c.project_id, patterns.c.pattern).order_by(patterns.c.id)
    found: list[tuple[UUID | None, re.Pattern[str]]] = []
    unreadable: list[str] = []
    for pattern_id, project_id, text in connection.execute(query):
        pattern = _compile(text)
        if pattern is None:
            unreadable.append(str(pattern_id))
        else:
            found.append((project_id, pattern))
    if unreadable:
        raise PreflightError(
            f"secret_exclusion_patterns has patterns that Python's re does not take: {', '.join(unreadable)}; what they "
            "should keep from GitHub nobody can tell: write them anew, or delete them"
        )
    return Exclusions(tuple(found))


def _compile(text: str) -> re.Pattern[str] | None:
    try:
        with warnings.catch_warnings():
            # What a later Python may read otherwise, such as [[, means today what it has always meant.
            warnings.simplefilter("ignore")
            return re.compile(text)
    except (re.error, OverflowError, RecursionError):
        return None
