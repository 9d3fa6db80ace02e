"""Run every job once through the instance's queue, as a person would from the UI, and say what came of it."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from dagster_graphql import DagsterGraphQLClient
from psycopg.rows import class_row
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cath_dagster.adapters.terminal import err, out
from cath_dagster.cath.messages import TEMPLATES
from cath_dagster.core.run.spec import JobSpec, load_specs
from cath_dagster.development.local import REPOSITORY, Local, LocalError, Stack
from cath_dagster.development.samples import samples
from cath_dagster.development.simulators.outside import Outside, template_id

RUN_SECONDS = 900.0
POLL_SECONDS = 0.2
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass(frozen=True)
class JobResult:
    """What one run did, from the ledger: `changed` are rows, files and messages that are no longer what they were."""

    job: str
    status: str
    matched: int
    changed: int
    kept: int
    seconds: float


@dataclass(frozen=True)
class Totals:
    """What one run did, added up over its tables."""

    matched: int
    changed: int
    kept: int
    seconds: float


class Session:
    """A connection to the UI's own interface, on which runs are submitted and watched."""

    def __init__(self, stack: Stack, port: int, local: Local) -> None:
        self._stack = stack
        self._client = DagsterGraphQLClient("127.0.0.1", port_number=port)
        self._local = local

    def run_every_job(self) -> list[JobResult]:
        """Run each sample's jobs one after the other, so that their counts add up, and last those that show the rest."""
        # What has no schedule is for somebody to start, who knows why: the sample says what it is started with.
        chosen = [
            (spec, sample.started.get(spec.name, {}))
            for sample in samples()
            for spec in sorted(load_specs(sample.location), key=_order)
            if (spec.schedule is not None or spec.name in sample.started)
            and not spec.idle_for_want_of(self._stack.environ)
        ]
        results: list[JobResult] = []
        with Progress(
            TextColumn("{task.description:<26}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}"),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        ) as bars:
            bar = bars.add_task("jobs", total=len(chosen), doing="")
            for spec, config in chosen:
                bars.update(bar, description=spec.key)
                for doing in self._run(spec, config, results):
                    bars.update(bar, doing=doing)
                bars.update(bar, advance=1)
                if not err.is_terminal:
                    err.print(f"{len(results)}/{len(chosen)} {results[-1].job}: {results[-1].status}")
        return results

    def _run(self, spec: JobSpec, config: Mapping[str, object], results: list[JobResult]) -> Iterator[str]:
        """Submit one run and watch it; yield what it has done so far, append its result."""
        now = datetime.now(UTC)
        tags = {"dagster/partition": spec.partitions.default(now)} if spec.partitions is not None else {}
        run_id = self._client.submit_job_execution(
            spec.name, repository_location_name=spec.location.name, run_config=dict(config), tags=tags
        )
        deadline = time.monotonic() + RUN_SECONDS
        while (status := self._client.get_run_status(run_id).value) not in ENDED:
            self._stack.check()
            if time.monotonic() > deadline:
                raise LocalError(f"run {run_id} of {spec.key} is {status} after {RUN_SECONDS:.0f} s")
            yield f"{self._totals(spec, run_id).changed:,} rows"
            time.sleep(POLL_SECONDS)
        totals = self._totals(spec, run_id)
        results.append(JobResult(spec.key, status.lower(), totals.matched, totals.changed, totals.kept, totals.seconds))

    def _totals(self, spec: JobSpec, run_id: str) -> Totals:
        return read_totals(self._local.ledger_url(spec.location), run_id)


def read_totals(url: str, run_id: str) -> Totals:
    """Return what a run has done so far, by the ledger; nothing where its first run is still to make the ledger."""
    with psycopg.connect(url) as connection:
        ledger = connection.execute("SELECT to_regclass('maintenance.purge_ledger')").fetchone()
        if ledger == (None,):
            return Totals(0, 0, 0, 0.0)
        cursor = connection.cursor(row_factory=class_row(Totals))
        found = cursor.execute(
            """
            SELECT coalesce(sum(CASE table_name WHEN 'files' THEN deleted + updated + failed ELSE matched END), 0)
                     ::bigint AS matched, coalesce(sum(kept) FILTER (WHERE table_name <> 'identity_accounts'), 0)::bigint AS kept,
                   coalesce(sum(deleted + updated + notified), 0)::bigint AS changed,
                   coalesce(extract(epoch FROM max(last_event_at) - min(started_at)), 0)::float8 AS seconds
            FROM maintenance.purge_ledger WHERE run_id = %s
            """,
            [run_id],
        ).fetchone()
    assert found is not None  # noqa: S101 - an aggregate without GROUP BY has one row
    return found


def print_summary(results: Sequence[JobResult], outside: Outside, local: Local, *, mails_before: int) -> int:
    """Print one table and what the outside was sent; return the exit code."""
    table = Table()
    table.add_column("job")
    for name in ("matched", "changed", "kept", "seconds"):
        table.add_column(name, justify="right")
    for result in results:
        name = result.job if result.status == "success" else f"{result.job} ({result.status})"
        table.add_row(name, *(f"{n:,}" for n in (result.matched, result.changed, result.kept)), f"{result.seconds:.2f}")
    out.print(table)
    _print_mails(outside, local, mails_before)
    if outside.provider.spent:
        out.print(f"An OAuth provider (a local stand-in) refreshed {len(outside.provider.spent)} tokens.")
    if sent := sum(write.startswith("PUT") for write in outside.github.writes):
        out.print(f"GitHub (a local stand-in) was sent {sent} secrets, each sealed for its place.")
    failed = [result.job for result in results if result.status != "success"]
    if failed:
        err.print(f"error: {', '.join(failed)} did not succeed; see the logs in {_shown(local.folder / 'logs')}")
        return 1
    if not any(result.changed for result in results):
        out.print("Nothing was left to do.")
    out.print("Look at the runs in the UI with: make dev")
    return 0


def _print_mails(outside: Outside, local: Local, mails_before: int) -> None:
    mails = outside.notify.sent[mails_before:]
    if mails:
        names = {template_id(name): name for name in TEMPLATES}
        counted = Counter(names.get(mail.template_id, mail.template_id) for mail in mails)
        out.print(
            f"GOV.UK Notify (a local stand-in) was sent {len(mails)} messages: "
            + ", ".join(f"{count} {name}" for name, count in sorted(counted.items()))
        )
        out.print(f"Read them in {_shown(local.mail_log)}; the report lies in {_shown(local.report_root)}.")
    if outside.smtp.sent:
        out.print(f"A mail server (a local stand-in) was sent {len(outside.smtp.sent)} mails.")
        out.print(f"Open them from {_shown(local.mail_folder)} in a browser.")


def _shown(path: object) -> str:
    return str(path).removeprefix(f"{REPOSITORY}/")


def _order(spec: JobSpec) -> tuple[bool, int, int, str]:
    """Sort by the time of day, views after all that changes their sources."""
    minute, hour, *_ = spec.cron.split() if spec.cron else ("", "")
    # A job without a time of day comes last.
    at = (int(hour), int(minute)) if hour.isdigit() and minute.isdigit() else (24, 0)
    return spec.is_asset and spec.partitions is None, *at, spec.name
