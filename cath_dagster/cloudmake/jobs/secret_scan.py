"""Scan a repository for secrets, offline; what is told of one is where it stands and a keyed fingerprint."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from cath_dagster.cloudmake import CLOUDMAKE, OWNER
from cath_dagster.cloudmake.scan.key import read_key
from cath_dagster.cloudmake.scan.looking import look
from cath_dagster.cloudmake.scan.report import ScanReport
from cath_dagster.cloudmake.scan.request import MEGABYTE, ScanRequest, read_what
from cath_dagster.core.model.check import Check, Severity, Verdict
from cath_dagster.core.model.outcome import Outcome, RunResult
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import GatedSettings
from cath_dagster.core.outbox.tally import IDS_SHOWN
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

JOB = "secret_scan"
ASSET = "repository_secrets"
PATH = "SCAN_PATH"
STATE = "SCAN_STATE"
NO_SECRET_FOUND: Check[Database] = Check(
    name="no_secret_found",
    asset=ASSET,
    description="Nothing that looks like a secret stands in the repository but what the baseline knows, and all of it could be read.",
    severity=Severity.ERROR,
)


class SecretScanSettings(GatedSettings):
    """What of the repository is looked at."""

    range: str = Field(
        default="",
        description="Look at what the commits between two brought, as A..B. By default at the history since the last clean "
        "scan (all of it where CLOUDMAKE_SCAN_STATE names no file that remembers one) and at the newest tree.",
    )
    staged: bool = Field(default=False, description="Look at what is staged for the next commit.")
    all: bool = Field(default=False, description="Look at the whole history, whatever is remembered.")
    baseline: str = Field(
        default="",
        description="The file of findings that are known, each with a reason, from CLOUDMAKE_SCAN_PATH. By default "
        ".secrets-baseline, where there is one.",
    )
    max_file_mb: int = Field(
        default=100,
        ge=1,
        le=2_000,
        description="A file that is larger, in 1,000,000 bytes, is not read, and the run fails for it.",
    )


def secret_scan(run: JobRun, settings: SecretScanSettings) -> None:
    """Look, and judge what was found; a scheduled run without a repository does nothing and says so."""
    missing = SPEC.idle_for_want_of(run.environ)
    if missing and run.request.is_scheduled:
        run.note(f"{', '.join(missing)} is not set: there is no repository to scan here")
        return
    started = run.clock()
    looked = look(_request(run, settings), read_key(run.environ), run.environ)
    report = looked.report
    run.record(_outcome(report, run.clock() - started))
    for note in report.notes:
        run.note(note)
    for unread in report.unread:
        run.fail(f"not read: {unread}")
    counts = {"found": len(report.found), "known": len(report.known)}
    run.judge(NO_SECRET_FOUND, Verdict(report.is_clean, report.verdict, counts), gates=settings.gate)
    if not run.dry_run and (reason := looked.remember()):
        run.note(reason)


def findings_as_text(result: RunResult, verbose: bool) -> list[str]:
    """Return what a run found, a line each, and what it did not look into where all there is to say is asked for."""
    details = next((outcome.details for outcome in result.outcomes if outcome.target == ASSET), {})
    shown = [details.get(name) for name in (("findings", "skipped") if verbose else ("findings",))]
    return [line for lines in shown if isinstance(lines, list) for line in lines]


def _request(run: JobRun, settings: SecretScanSettings) -> ScanRequest:
    path, state = Path(run.require(PATH)[PATH]), run.optional(STATE)
    what, since, until = read_what(is_staged=settings.staged, commits=settings.range, is_all=settings.all)
    return ScanRequest(
        path=path,
        what=what,
        since=since,
        until=until,
        baseline=path / settings.baseline if settings.baseline else None,
        memory=Path(state) if state else None,
        max_bytes=settings.max_file_mb * MEGABYTE,
    )


def _outcome(report: ScanReport, seconds: float) -> Outcome:
    return Outcome(
        target=ASSET,
        matched=len(report.found) + len(report.known),
        kept=len(report.known),
        seconds=seconds,
        details={
            "found": len(report.found),
            "known": len(report.known),
            "files": report.files,
            "commits": report.commits,
            "looked_at": report.looked_at,
            "skipped": [f"{count} x {why}" for why, count in report.skipped.items()],
            "findings": [finding.as_text() for finding in report.found[:IDS_SHOWN]],
        },
    )


SPEC = JobSpec(
    location=CLOUDMAKE,
    name=JOB,
    schedule=Cron("30 4 * * *"),
    owner=OWNER,
    summary="Looks for secrets that stand in the repository, offline: its history since the last clean scan, and its newest tree.",
    description=(
        "Scans the repository at CLOUDMAKE_SCAN_PATH without any network. Told of a finding are its rule, file, line, commit "
        "and a keyed fingerprint, nothing of the value. Findings in .secrets-baseline are known, by fingerprint and path. It "
        "changes nothing. What to do with a finding: rotate the secret first, then take it out, or give the reason why it may stand there (cath-dagster secrets baseline)."
    ),
    settings=SecretScanSettings,
    run=secret_scan,
    idle_without=(PATH,),
    timeout=timedelta(minutes=30),
    is_asset=True,
    checks=(NO_SECRET_FOUND,),
    console_report=findings_as_text,
)
