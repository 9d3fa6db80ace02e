"""What a run would do for each project, as far as that can be told without GitHub: read before the first write of any kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from cath_dagster.cloudmake.environment import Environment
from cath_dagster.cloudmake.github_secrets.exclusions import Exclusions
from cath_dagster.cloudmake.github_secrets.projects import Project, repository_of
from cath_dagster.cloudmake.github_secrets.sources import Source, Values, has_any
from cath_dagster.cloudmake.github_secrets.targets import Known, read_known
from cath_dagster.cloudmake.github_secrets.wanted import EnvironmentNames, WantedSecret, find_wanted, split_suffix
from cath_dagster.core.errors import DatabaseStatementError, DatabaseUnavailableError, MaintenanceError
from cath_dagster.core.ports.github import Repository

FEW = 10
"""Secrets of ours; where no more are deleted, nobody has emptied a table by mistake."""


@dataclass(frozen=True)
class Draft:
    """A project's part of a run; with a `fault` nothing can be done for it."""

    project: Project
    repository: Repository | None = None
    secrets: tuple[WantedSecret, ...] = field(default=(), repr=False)
    known: Mapping[tuple[str, str], Known] = field(default_factory=dict)
    gone: tuple[Known, ...] = ()
    """What we wrote of secrets that neither a mapping nor the source has any more."""
    settled: tuple[Known, ...] = ()
    """Rows about secrets that are no longer wanted, and were never written."""
    left_there: int = 0
    """What we wrote, is no longer wanted there, and stays since the source has it."""
    fault: str = ""


@dataclass(frozen=True)
class Drafting:
    """What a project's part is told by."""

    source: Source = field(repr=False)
    exclusions: Exclusions
    names: EnvironmentNames

    def draft(self, connection: sa.Connection, project: Project, values: Values) -> Draft:
        """Return a project's part; raise `MaintenanceError` where that cannot be told."""
        secrets = find_wanted(project, values, self.exclusions, self.names)
        known = read_known(connection, project.project_id)
        if not known and not any(secret.targets for secret in secrets):
            # Of which nothing goes to GitHub needs no repository there.
            return Draft(project, secrets=tuple(secrets))
        repository = repository_of(project)
        wanted = {(secret.mapping.name, each.target) for secret in secrets for each in secret.targets}
        unwanted = [row for key, row in known.items() if key not in wanted]
        mapped = {mapping.name for mapping in project.mappings}
        gone = [row for row in unwanted if row.may_be_there and self._is_gone(row, mapped, values)]
        return Draft(
            project=project,
            repository=repository,
            secrets=tuple(secrets),
            known=known,
            gone=tuple(gone),
            settled=tuple(row for row in unwanted if not row.may_be_there),
            left_there=sum(row.may_be_there for row in unwanted) - len(gone),
        )

    def of(self, connection: sa.Connection, project: Project) -> Draft:
        """Return a project's part, or what stands in its way."""
        try:
            return self.draft(connection, project, self.source.of(connection, project))
        except (DatabaseStatementError, DatabaseUnavailableError):
            raise
        except MaintenanceError as error:
            return Draft(project, fault=str(error))

    def _is_gone(self, row: Known, mapped: set[str], values: Values) -> bool:
        """Return whether neither a mapping nor the source has the secret; both have to have lost it."""
        if row.secret_name in mapped:
            return False
        environment, base = split_suffix(row.secret_name)
        is_there = has_any(values, Environment, row.secret_name)
        return not is_there and (environment is None or values.get(environment, base) is None)


def find_refusal(drafts: Sequence[Draft]) -> str | None:
    """Return why a run would delete more than one run may without being told so; None where it would not."""
    ours = [row for draft in drafts for row in draft.known.values() if row.may_be_there]
    gone = sum(len(draft.gone) for draft in drafts)
    if gone <= FEW or gone * 2 <= len(ours):
        return None
    return (
        f"{gone} of the {len(ours)} secrets that were written to GitHub have neither a mapping nor a value any more, and "
        "would be deleted there: more than half. If that is meant, run once with allow_large"
    )
