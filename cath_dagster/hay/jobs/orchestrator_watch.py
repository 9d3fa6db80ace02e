"""Look every five minutes whether conversations stand still and tokens are renewed; nothing is written."""

from datetime import timedelta

from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import GatedSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.hay import HAY, OWNER
from cath_dagster.hay.orchestrator import CONVERSATIONS_CHECK, TOKENS_CHECK
from cath_dagster.hay.zone import check_zone


class OrchestratorWatchSettings(GatedSettings):
    """Nothing of its own."""


def orchestrator_watch(run: JobRun, settings: OrchestratorWatchSettings) -> None:
    """Judge both checks."""
    run.preflight()
    for check in SPEC.checks:
        assert check.evaluate is not None  # noqa: S101 - both have one
        verdict = check.evaluate(run.database, run.as_of)
        run.judge(check, verdict, gates=settings.gate)
        run.record(Outcome(target=check.asset, details=verdict.details))


SPEC = JobSpec(
    location=HAY,
    name="orchestrator_watch",
    schedule=Cron("*/5 * * * *"),
    timeout=timedelta(minutes=4),
    owner=OWNER,
    summary="Watches for conversations that stand still, by tenant, and for plugins' tokens that nobody renews.",
    description=(
        "Counts conversations that the service's orchestrator has left stuck, locked or waiting, and enabled plugin instances whose "
        "OAuth tokens are missing or were not renewed for 30 days; each is an asset check that fails until it is over. Nothing is "
        "written: a recovery may write to a customer, and a second renewal of one token locks the tenant out."
    ),
    settings=OrchestratorWatchSettings,
    run=orchestrator_watch,
    prepare=check_zone,
    checks=(CONVERSATIONS_CHECK, TOKENS_CHECK),
    database=DatabaseWork(
        targets=(),
        privileges={"conversations": ("SELECT",), "plugin_instances": ("SELECT",)},
    ),
)
