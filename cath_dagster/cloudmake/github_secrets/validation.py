"""Look at what is set where, and what a synchronisation would do now; nothing is written anywhere."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.github import open_github
from cath_dagster.cloudmake.github_secrets.budget import Budget
from cath_dagster.cloudmake.github_secrets.drafts import Draft, Drafting
from cath_dagster.cloudmake.github_secrets.endings import Ended, Ending
from cath_dagster.cloudmake.github_secrets.exclusions import read_exclusions
from cath_dagster.cloudmake.github_secrets.hashes import read_hasher
from cath_dagster.cloudmake.github_secrets.projects import choose, read_projects
from cath_dagster.cloudmake.github_secrets.settings import JOB, GithubSecretsSyncSettings
from cath_dagster.cloudmake.github_secrets.sources import open_source
from cath_dagster.cloudmake.github_secrets.synchronising import Means, ProjectWork
from cath_dagster.cloudmake.github_secrets.validity import judge_projects
from cath_dagster.cloudmake.github_secrets.wanted import read_environment_names
from cath_dagster.cloudmake.keyring import read_keyring
from cath_dagster.core.model.check import Verdict
from cath_dagster.core.model.settings import read_settings
from cath_dagster.core.ports.github import GitHub
from cath_dagster.core.postgres.database import Database

PLENTY = 1_000_000
SAYS = {
    Ending.SYNCED: "to be written",
    Ending.SKIPPED: "as it should be",
    Ending.DELETED: "to be deleted",
    Ending.LEFT: "not looked at",
}
INVALID = {Ending.CONFLICT, Ending.FAILED, Ending.MISSING, Ending.LEFT}
"""What could not be looked at is not taken for good."""


@dataclass(frozen=True)
class Line:
    """A secret in a place, or with neither of them a project of which nothing can be told."""

    project: str
    secret: str
    target: str
    says: str
    is_valid: bool
    error: str | None = None


@dataclass(frozen=True)
class Validation:
    lines: tuple[Line, ...]
    verdict: Verdict
    """SC-005, of these projects."""

    @property
    def is_valid(self) -> bool:
        return self.verdict.passed and all(line.is_valid for line in self.lines)


def validate(
    database: Database, environ: Mapping[str, str], project: str, *, sleep: Callable[[float], None] = time.sleep
) -> Validation:
    """Look at the projects that are named, all active ones by default; GitHub is asked, and nothing is written.

    Raises `MaintenanceError` where it cannot be looked at all.
    """
    settings = read_settings(GithubSecretsSyncSettings, {}, location=CLOUDMAKE.name, job=JOB, environ=environ)
    keyring, now = read_keyring(environ), datetime.now(UTC)
    drafting = Drafting(
        source=database.transaction(lambda connection: open_source(connection, environ, keyring)),
        exclusions=database.transaction(read_exclusions),
        names=read_environment_names(settings.environment_names),
    )
    projects = choose(database.transaction(read_projects), project)
    drafts = database.transaction(lambda connection: [drafting.of(connection, each) for each in projects])
    hasher = database.transaction(lambda connection: read_hasher(connection, keyring, may_write=False))
    with open_github(environ, sleep=sleep, retries=settings.retries) as github:
        means = Means(
            database=database,
            github=github,
            budget=_budget(github, sleep),
            hasher=hasher,
            run_id="",
            as_of=now,
            force=False,
            dry_run=True,
            now=lambda: now,
            clock=time.perf_counter,
        )
        lines = [line for draft in drafts for line in _look(means, draft)]
    verdict = database.transaction(lambda connection: judge_projects(connection, projects, now))
    return Validation(tuple(lines), verdict)


def _budget(github: GitHub, sleep: Callable[[float], None]) -> Budget:
    return Budget(
        github=github,
        reserve=0,
        writes_left=PLENTY,
        rows_left=None,
        seconds_apart=0,
        clock=time.perf_counter,
        sleep=sleep,
    )


def _look(means: Means, draft: Draft) -> Iterator[Line]:
    slug = draft.project.slug
    if draft.fault:
        yield Line(slug, "", "", "cannot be told", is_valid=False, error=draft.fault)
        return
    for secret in draft.secrets:
        if secret.is_excluded:
            yield Line(slug, secret.mapping.name, "", "excluded", is_valid=True)
        for target in secret.excluded_targets:
            yield Line(slug, secret.mapping.name, target, "excluded", is_valid=True)
    if draft.repository is not None:
        for each in ProjectWork(means, draft, draft.repository).run():
            yield _line(slug, each, means.budget)


def _line(slug: str, ended: Ended, budget: Budget) -> Line:
    return Line(
        project=slug,
        secret=ended.secret,
        target=ended.target,
        says=SAYS.get(ended.ending, str(ended.ending)),
        is_valid=ended.ending not in INVALID,
        error=budget.ended if ended.ending is Ending.LEFT else ended.error,
    )
