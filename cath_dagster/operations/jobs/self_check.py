"""Look every hour whether the instance can do its work: daemons, code locations, clocks, forgotten locks."""

from pydantic import Field

from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.operations import OPERATIONS, OWNER


class SelfCheckSettings(JobSettings):
    """What is allowed and what should load is no matter of one run: OPERATIONS_HEARTBEAT_SECONDS, OPERATIONS_LOCATIONS."""

    wait_seconds: int = Field(
        default=30,
        ge=0,
        le=600,
        description="Seconds for which daemons and code servers that do not answer are asked again, all together: after "
        "a start they may not have come up yet.",
    )


def self_check(run: JobRun, settings: SelfCheckSettings) -> None:
    """Look at everything, and fail with every problem that was found."""
    # A command line that lists jobs imports this file, and should not import the orchestrator with it.
    from cath_dagster.operations.alerts import read_alert_settings
    from cath_dagster.operations.backends import InstanceBackends
    from cath_dagster.operations.forgotten_locks import find_forgotten_locks
    from cath_dagster.operations.health import find_clock_skew, find_code_locations, find_heartbeats
    from cath_dagster.operations.patience import Patience

    if not isinstance(run.backends, InstanceBackends):
        raise TypeError(f"a run of {run.job} has the backends of {OPERATIONS.name}, not {type(run.backends).__name__}")
    instance, alerts = run.backends.instance, read_alert_settings(run.environ)
    patience = Patience(settings.wait_seconds, clock=run.clock)
    beats = patience.ask(lambda: list(find_heartbeats(instance, alerts, run.as_of)), _has_problem)
    found: list[Finding] = [
        *beats,
        *find_code_locations(instance, alerts, patience),
        find_clock_skew(run.database),
        *find_forgotten_locks(instance, run.as_of),
    ]
    for finding in found:
        remedy = f" ({finding.remedy})" if finding.remedy else ""
        says = f"{finding.subject}: {finding.message}{remedy}"
        if finding.level is Level.PROBLEM:
            run.fail(says)
        elif finding.level is Level.WARNING:
            run.note(says)
    run.reporter.info(f"{len(found)} things looked at")


def _has_problem(findings: list[Finding]) -> bool:
    return any(finding.level is Level.PROBLEM for finding in findings)


SPEC = JobSpec(
    location=OPERATIONS,
    name="self_check",
    schedule=Cron("35 * * * *"),
    owner=OWNER,
    summary="Looks every hour at daemons, code locations, clocks and forgotten locks.",
    description=(
        "Looks whether every daemon beats, every code location loads, this machine's clock agrees with the database's, "
        "and no lock is held for a run that is over. Fails with every problem it finds, which raises an alert. "
        "Changes nothing. A dead daemon cannot run it: cath-dagster health looks from outside."
    ),
    settings=SelfCheckSettings,
    run=self_check,
    database=DatabaseWork(
        targets=(),
    ),
)
