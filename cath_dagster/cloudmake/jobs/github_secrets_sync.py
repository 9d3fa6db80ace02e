"""Synchronise secrets to GitHub: Actions, Codespaces, Dependabot and environments, each value sealed for its own place."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.cloudmake import CLOUDMAKE, OWNER
from cath_dagster.cloudmake.environment import read_environment
from cath_dagster.cloudmake.github import TOKEN, open_github
from cath_dagster.cloudmake.github_secrets import events, partitions
from cath_dagster.cloudmake.github_secrets.budget import Budget
from cath_dagster.cloudmake.github_secrets.drafts import Draft, Drafting, find_refusal
from cath_dagster.cloudmake.github_secrets.endings import Ended, Ending
from cath_dagster.cloudmake.github_secrets.exclusions import read_exclusions
from cath_dagster.cloudmake.github_secrets.hashes import read_hasher
from cath_dagster.cloudmake.github_secrets.projects import choose, read_projects
from cath_dagster.cloudmake.github_secrets.recording import Recording
from cath_dagster.cloudmake.github_secrets.settings import JOB, GithubSecretsSyncSettings
from cath_dagster.cloudmake.github_secrets.sources import open_source
from cath_dagster.cloudmake.github_secrets.synchronising import Means, ProjectWork
from cath_dagster.cloudmake.github_secrets.targets import count_written_lately
from cath_dagster.cloudmake.github_secrets.validity import SC_005, judge
from cath_dagster.cloudmake.github_secrets.wanted import read_environment_names
from cath_dagster.cloudmake.keyring import read_keyring
from cath_dagster.core.errors import ConfigurationError, IncompleteRunError
from cath_dagster.core.model.outcome import Outcome, RunResult
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.outbox.tally import IDS_SHOWN
from cath_dagster.core.ports.github import GitHub, GitHubError
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

TABLE = "secret_mappings"
ACTOR = "SYSTEM_ACTOR_ID"


@dataclass(frozen=True)
class _Prepared:
    """What a run goes by, read before its first write."""

    drafting: Drafting = field(repr=False)
    months: list[partitions.Month]
    audit_columns: frozenset[str]
    actor_id: UUID | None


def prepare(run: JobRun, settings: GithubSecretsSyncSettings) -> None:
    """Look at everything that could refuse the run; nothing is written, and GitHub is not asked."""
    prepared = _prepare(run, settings)
    if prepared.months and not run.database.transaction(partitions.may_create):
        statements = " ".join(month.statement for month in prepared.months)
        run.refuse([f"secret_sync_events has no partition for this month or the next; as its owner: {statements}"])


def github_secrets_sync(run: JobRun, settings: GithubSecretsSyncSettings) -> None:
    """Bring every project's secrets to GitHub; one that fails does not stop the others."""
    run.preflight()
    prepared = _prepare(run, settings)
    found = choose(run.database.transaction(read_projects), settings.projects)
    drafts = run.database.transaction(lambda connection: [prepared.drafting.of(connection, each) for each in found])
    refusal = None if run.request.options.allow_large else find_refusal(drafts)
    run.refuse([refusal] if refusal else [])
    started = run.clock()
    with _failing(), open_github(run.environ, sleep=run.patience.sleep, retries=settings.retries) as github:
        budget = _open_budget(run, settings, github)
        if not run.dry_run:
            _make_room(run, prepared, drafts)
        means = _means(run, settings, prepared, github, budget)
        ended = [each for draft in drafts for each in _of_project(run, means, draft)]
    _record(run, drafts, ended, budget, run.clock() - started)
    run.judge(SC_005, judge(run.database, run.as_of))


def _prepare(run: JobRun, settings: GithubSecretsSyncSettings) -> _Prepared:
    read_environment(run)
    with open_github(run.environ, sleep=time.sleep):
        # Only to see that it could be asked.
        keyring = read_keyring(run.environ)
    database = run.database
    drafting = Drafting(
        source=database.transaction(lambda connection: open_source(connection, run.environ, keyring)),
        exclusions=database.transaction(read_exclusions),
        names=read_environment_names(settings.environment_names),
    )
    return _Prepared(
        drafting=drafting,
        months=database.transaction(lambda connection: partitions.missing(connection, run.as_of)),
        audit_columns=database.transaction(events.read_audit_columns),
        actor_id=_read_actor(run),
    )


def _read_actor(run: JobRun) -> UUID | None:
    """Return in whose name events are written; nobody's, unless the table wants somebody."""
    if not run.database.transaction(events.requires_actor):
        return None
    given = run.require(ACTOR)[ACTOR]
    try:
        return UUID(given)
    except ValueError:
        raise ConfigurationError(f"{CLOUDMAKE.prefix}_{ACTOR} is {given!r}; it is the id of a user, a UUID") from None


@contextmanager
def _failing() -> Iterator[None]:
    """Turn what GitHub says before anything is written into a failure of the run."""
    try:
        yield
    except GitHubError as error:
        raise IncompleteRunError(f"nothing was written: {error.says}; look at {CLOUDMAKE.prefix}_{TOKEN}") from None


def _open_budget(run: JobRun, settings: GithubSecretsSyncSettings, github: GitHub) -> Budget:
    """Return what may be asked of GitHub; refuse the run where that is nothing."""
    quota = github.rate_limit().get("core")
    if quota is not None and quota.remaining <= settings.reserve:
        says = (
            f"GitHub lets us ask {quota.remaining:,} more times until {quota.reset_at:%Y-%m-%d %H:%M} UTC, and "
            f"{settings.reserve:,} are reserved; run again then, or with a smaller reserve"
        )
        run.refuse([says])
    written = run.database.transaction(count_written_lately)
    return Budget(
        github=github,
        reserve=settings.reserve,
        writes_left=max(0, settings.max_writes_per_hour - written),
        rows_left=run.account.room(),
        seconds_apart=60 / settings.writes_per_minute,
        clock=run.clock,
        sleep=run.patience.sleep,
    )


def _make_room(run: JobRun, prepared: _Prepared, drafts: Sequence[Draft]) -> None:
    """Make the months' partitions, and see that events can be written, before anything is sent to GitHub."""
    told = _events(run, prepared)

    def work(connection: sa.Connection) -> None:
        partitions.create(connection, prepared.months)
        for draft in drafts[:1]:
            told.probe(connection, draft.project.project_id)

    run.database.transaction(work)


def _events(run: JobRun, prepared: _Prepared) -> events.Events:
    return events.Events(
        run_id=run.run_id, as_of=run.as_of, actor_id=prepared.actor_id, audit_columns=prepared.audit_columns
    )


def _means(
    run: JobRun, settings: GithubSecretsSyncSettings, prepared: _Prepared, github: GitHub, budget: Budget
) -> Means:
    keyring = read_keyring(run.environ)
    hasher = run.database.transaction(lambda connection: read_hasher(connection, keyring, may_write=not run.dry_run))
    recording = Recording(
        ledger=run.ledger,
        events=_events(run, prepared),
        hasher=hasher,
        hash_kind=settings.hash,
        names=prepared.drafting.names,
        now=_now,
    )
    return Means(
        database=run.database,
        github=github,
        budget=budget,
        hasher=hasher,
        recording=None if run.dry_run else recording,
        run_id=run.run_id,
        as_of=run.as_of,
        force=settings.force,
        dry_run=run.dry_run,
        now=_now,
        clock=run.clock,
    )


def _of_project(run: JobRun, means: Means, draft: Draft) -> Iterator[Ended]:
    """Yield how it ended for each secret of a project in each place."""
    if draft.fault:
        run.fail(f"{draft.project.slug}: {draft.fault}")
    if draft.repository is None:
        return
    started = run.clock()
    ended: list[Ended] = []
    for each in ProjectWork(means, draft, draft.repository).run():
        ended.append(each)
        yield each
    if draft.left_there:
        run.note(
            f"{draft.project.slug}: {draft.left_there} secrets are at GitHub by us, wanted there no longer, and left"
        )
    if (recording := means.recording) is not None:
        seconds, quota = run.clock() - started, means.budget.quota
        run.database.transaction(lambda connection: recording.project(connection, draft, ended, quota, seconds))
    _say_failures(run, draft, ended)


def _say_failures(run: JobRun, draft: Draft, ended: Sequence[Ended]) -> None:
    bad = Counter(f"{each.target}: {each.error}" for each in ended if each.ending in {Ending.FAILED, Ending.MISSING})
    if bad:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in bad.most_common(IDS_SHOWN))
        run.fail(f"{draft.project.slug}: {bad.total()} secrets could not be brought to GitHub ({reasons})")


def _record(run: JobRun, drafts: Sequence[Draft], ended: Sequence[Ended], budget: Budget, seconds: float) -> None:
    tally = Counter(each.ending for each in ended)
    broken = [draft.project.slug for draft in drafts if draft.fault]
    details: dict[str, Scalar] = {
        **{str(each): tally[each] for each in Ending},
        "excluded": sum(
            secret.is_excluded + len(secret.excluded_targets) for draft in drafts for secret in draft.secrets
        ),
        "projects": len(drafts),
        "failed_projects": len(broken),
    }
    if budget.quota is not None:
        details["quota_left"] = budget.quota.remaining
    if broken:
        details["projects_without_repository_or_source"] = broken[:IDS_SHOWN]
    run.record(
        Outcome(
            target=TABLE,
            matched=tally.total() - tally[Ending.SKIPPED],
            updated=tally[Ending.SYNCED],
            deleted=tally[Ending.DELETED],
            failed=tally[Ending.FAILED] + tally[Ending.MISSING] + len(broken),
            kept=tally[Ending.CONFLICT],
            skipped=tally[Ending.LEFT],
            seconds=seconds,
            details=details,
        )
    )
    if tally[Ending.CONFLICT]:
        run.note(
            f"{tally[Ending.CONFLICT]} secrets are in conflict: somebody else wrote them at GitHub, and they stay as they "
            "are; cath-dagster secrets validate names them, and a run with force overwrites them"
        )
    if tally[Ending.LEFT]:
        run.note(f"{tally[Ending.LEFT]} secrets are left to the next run: {budget.ended}")


def _report(result: RunResult, verbose: bool) -> Sequence[str]:
    """Return what the command line says: how many secrets came to what, a secret counted once in each place."""
    del verbose
    found = next((each.details for each in result.outcomes if each.target == TABLE), {})
    if not result.began or not found:
        return ()
    counts = ", ".join(f"{found[word]} {word}" for word in (*Ending, "excluded") if found.get(word)) or "nothing to do"
    return [f"{'would be: ' if result.dry_run else ''}{counts}"]


def _now() -> datetime:
    """Return the time by which GitHub dates what it is sent, which is never a run's reference time."""
    return datetime.now(UTC)


SPEC = JobSpec(
    location=CLOUDMAKE,
    name=JOB,
    schedule=Cron("0 1 * * *"),
    owner=OWNER,
    summary="Brings the secrets of every project to GitHub's Actions, Codespaces, Dependabot and environments.",
    description=(
        "Writes every secret that a project maps and no pattern excludes into its scopes at GitHub, and those whose names "
        "end with an environment's into that environment, each sealed with the place's own key. What has not changed is "
        "skipped; what somebody else wrote at GitHub is a conflict and stays, unless force is set. Deletes at GitHub only "
        "what it wrote itself and the source no longer has. To undo: put the old value into the source, and run it again."
    ),
    settings=GithubSecretsSyncSettings,
    run=github_secrets_sync,
    prepare=prepare,
    required_variables=("ENVIRONMENT", TOKEN, "MASTER_ENCRYPTION_KEY"),
    timeout=timedelta(hours=3),
    is_asset=True,
    database=DatabaseWork(
        targets=(TABLE,),
        privileges={
            TABLE: ("SELECT", "UPDATE"),
            "environments": ("SELECT",),
            "github_api_quotas": ("SELECT", "INSERT", "UPDATE"),
            "integration_configs": ("SELECT",),
            "projects": ("SELECT",),
            "secret_audit": ("SELECT", "INSERT"),
            "secret_exclusion_patterns": ("SELECT",),
            "secret_sync_events": ("SELECT", "INSERT"),
            "maintenance.secret_target": ("SELECT", "INSERT", "UPDATE", "DELETE"),
            # More than a run needs: `cath-dagster secrets put` and `delete` log in as the same role.
            "maintenance.stored_secret": ("SELECT", "INSERT", "UPDATE", "DELETE"),
            "maintenance.wrapped_key": ("SELECT", "INSERT"),
        },
    ),
    checks=(SC_005,),
    console_report=_report,
)
