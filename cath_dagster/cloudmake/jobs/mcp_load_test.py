"""Measure how fast every MCP server answers and how often it fails, and judge it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.cloudmake import CLOUDMAKE, OWNER
from cath_dagster.cloudmake.environment import Environment, read_environment
from cath_dagster.cloudmake.servers.configuration import VARIABLE, Server, configured_servers
from cath_dagster.cloudmake.servers.console import report
from cath_dagster.cloudmake.servers.limits import Broken, Level, broken_limits
from cath_dagster.cloudmake.servers.load import Load, LoadTest
from cath_dagster.cloudmake.servers.load_rows import write_calls, write_metrics, write_refused
from cath_dagster.cloudmake.servers.measurement import Call, Measurement
from cath_dagster.cloudmake.servers.thresholds import Limit, Thresholds, configured_thresholds
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.check import Check, Severity, Verdict
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import TIMEOUT_DESCRIPTION, GatedSettings
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

TABLE, CALLS = "mcp_server_metrics", "mcp_tool_invocations"
LIST_P95_MS = 500
"""SC-021 of the specification."""
LIST_P95: Check[Database] = Check(
    name="sc_021_list_p95",
    asset=TABLE,
    description=f"The p95 of tools/list is at most {LIST_P95_MS} ms on every server (SC-021).",
    severity=Severity.WARN,
)
WITHIN_LIMITS: Check[Database] = Check(
    name="within_alert_limits",
    asset=TABLE,
    description="No server goes beyond the limits from which on somebody is told: p95 750 ms, 5 % of the calls failed.",
)


class McpLoadTestSettings(GatedSettings):
    """How much every server is asked, and what is too slow."""

    servers: str = Field(
        default="", description="Servers to measure, by name with commas between; all of the configuration if empty."
    )
    samples: int = Field(
        default=40, ge=1, le=1000, description="Times that tools/list is asked in turn, and again many at once."
    )
    concurrency: int = Field(
        default=8, ge=1, le=64, description="How many questions are under way at once in the second round."
    )
    timeout_key: ClassVar[str] = "run_timeout_seconds"
    # The name is a call's here, and was so before every job had it for a run.
    timeout_seconds: float = Field(  # type: ignore[assignment]
        default=10, gt=0, le=300, description="Seconds to wait for an answer."
    )
    run_timeout_seconds: int | None = Field(default=None, ge=1, le=86_400, description=TIMEOUT_DESCRIPTION)
    connect_timeout_seconds: float = Field(
        default=30,
        gt=0,
        le=600,
        description="Seconds to wait until a server is started and connected to; not measured.",
    )
    read_only: bool = Field(
        default=True,
        description="Call a tool that loadTools names only if its server says that it reads and does not destroy. "
        "In production this cannot be switched off.",
    )
    max_calls_per_minute: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Calls of one server within a minute; more wait. The service allows bursts of 120.",
    )
    alert_p95_ms: float = Field(
        default=750, gt=0, description="A p95 beyond this breaks the check within_alert_limits."
    )
    alert_error_percent: float = Field(
        default=5, ge=0, le=100, description="A share of failed calls beyond this breaks the check within_alert_limits."
    )


def prepare(run: JobRun, settings: McpLoadTestSettings) -> None:
    """Look at everything that the work goes by, before a server is asked anything."""
    if read_environment(run) is Environment.PRODUCTION and not settings.read_only:
        raise ConfigurationError(
            "read_only is false, and CLOUDMAKE_ENVIRONMENT is production: there it cannot be switched off"
        )
    configured_servers(run, settings.servers)
    configured_thresholds(run)


def mcp_load_test(run: JobRun, settings: McpLoadTestSettings) -> None:
    """Measure the servers one after the other, so that none slows down another; one that cannot start stops no other."""
    run.preflight()
    servers = _first(run, configured_servers(run, settings.servers))
    began = run.clock()
    measured = []
    for number, server in enumerate(servers, start=1):
        measured.append(_measure(run, settings, server, began))
        run.reporter.progress(TABLE, number, len(servers))
    broken = _judge(run, settings, measured)
    _record(run, servers, measured, broken, run.clock() - began)
    _fail(run, measured)


def _first(run: JobRun, servers: Sequence[Server]) -> Sequence[Server]:
    """Return the servers that `max_rows` leaves: each of them is a row."""
    most = run.request.options.max_rows
    if most is None or len(servers) <= most:
        return servers
    run.note(f"max_rows reached: {len(servers) - most} servers are not measured")
    return servers[:most]


def _measure(run: JobRun, settings: McpLoadTestSettings, server: Server, began: float) -> Measurement:
    load = Load(
        samples=settings.samples,
        concurrency=settings.concurrency,
        timeout_seconds=settings.timeout_seconds,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        max_calls_per_minute=settings.max_calls_per_minute,
        read_only=settings.read_only,
        calls_tools=not run.dry_run,
    )
    # A run's instants are counted from its reference time, and its seconds from its own clock.
    began_at = run.as_of - timedelta(seconds=began)

    def keep(calls: Sequence[Call]) -> None:
        if not run.dry_run:
            run.database.transaction(
                lambda connection: write_calls(connection, server.name, calls, began_at=began_at, run_id=run.run_id)
            )

    test = LoadTest(server=server, load=load, clock=run.clock, sleep=run.patience.sleep, on_calls=keep)
    measured = test.run()
    if not run.dry_run:
        _write(run, measured)
    return measured


def _write(run: JobRun, measured: Measurement) -> None:
    """Write the day's row, and the tools that were refused, in one transaction."""

    def write(connection: sa.Connection) -> None:
        write_refused(connection, measured.server, measured.refused, at=run.as_of, run_id=run.run_id)
        write_metrics(connection, measured, run.as_of)

    run.database.transaction(write)


def _judge(run: JobRun, settings: McpLoadTestSettings, measured: Sequence[Measurement]) -> list[Broken]:
    """Judge what was measured, and return which limits are broken; a dry run measures nothing."""
    if run.dry_run:
        return []
    thresholds = configured_thresholds(run)
    slow = {each.server: f"{each.server}: {each.p95_ms:.0f} ms" for each in measured if each.p95_ms > LIST_P95_MS}
    run.judge(LIST_P95, _verdict(slow, f"tools/list takes more than {LIST_P95_MS} ms"), gates=settings.gate)
    broken = _broken(measured, thresholds, settings)
    told: dict[str, str] = {}
    for each in broken:
        if each.level >= Level.ALERT:
            told[each.server] = f"{told[each.server]}; {each.says}" if each.server in told else each.says
    run.judge(WITHIN_LIMITS, _verdict(told, "beyond the limits"), gates=settings.gate)
    for each in broken:
        if each.level is Level.WARNING:
            run.note(each.says)
    return broken


def _broken(measured: Sequence[Measurement], thresholds: Thresholds, settings: McpLoadTestSettings) -> list[Broken]:
    alert = Limit(p95_ms=settings.alert_p95_ms, error_percent=settings.alert_error_percent)
    return [broken for each in measured for broken in broken_limits(each, thresholds, alert)]


def _verdict(found: Mapping[str, str], what: str) -> Verdict:
    if not found:
        return Verdict(passed=True)
    return Verdict(passed=False, message=f"{what}: {'; '.join(found.values())}", subjects=tuple(found))


def _record(
    run: JobRun, servers: Sequence[Server], measured: Sequence[Measurement], broken: Sequence[Broken], seconds: float
) -> None:
    details: dict[str, Scalar] = {
        "tools": [f"{each.server}: {tool}" for each in measured for tool in each.called],
        "refused_tools": [f"{each.server}: {tool}, {why}" for each in measured for tool, why in each.refused.items()],
        "downloads_at_start": [server.name for server in servers if server.downloads],
    }
    if not run.dry_run:
        details |= {
            "servers": [_says(each) for each in measured],
            "limits_broken": [each.says for each in broken],
            "errors": [f"{each.server}: {count} x {kind}" for each in measured for kind, count in each.errors.items()],
            "cut_short": [f"{each.server}: {each.cut_short}" for each in measured if each.cut_short],
        }
        for each in measured:
            details |= _numbers(each)
    not_started = sum(1 for each in measured if each.not_started is not None)
    run.record(
        Outcome(
            target=TABLE,
            matched=len(measured),
            updated=len(measured),
            failed=not_started,
            seconds=seconds,
            details={name: value for name, value in details.items() if value != []},
        )
    )
    if not run.dry_run:
        rows = sum(len(each.calls) + len(each.refused) for each in measured)
        run.record(Outcome(target=CALLS, matched=rows, updated=rows))


def _numbers(measured: Measurement) -> dict[str, Scalar]:
    """Return what is plotted of a server over the runs."""
    numbers: dict[str, Scalar] = {
        f"{measured.server}_p95_ms": round(measured.p95_ms, 2),
        f"{measured.server}_error_percent": round(measured.error_percent, 2),
    }
    if measured.p50_ms is not None:
        numbers[f"{measured.server}_p50_ms"] = round(measured.p50_ms, 2)
    return numbers | {f"{measured.server}_{tool}_p95_ms": round(p95, 2) for tool, p95 in measured.tool_p95_ms.items()}


def _says(measured: Measurement) -> str:
    if measured.not_started is not None:
        return f"{measured.server}: {measured.not_started}"
    calls = len(measured.counted)
    return f"{measured.server}: p95 {measured.p95_ms:.1f} ms, {measured.error_percent:.2f} % of {calls} calls failed"


def _fail(run: JobRun, measured: Sequence[Measurement]) -> None:
    """Tell what could not be measured, or may not be: that is never good, whatever the limits."""
    for each in measured:
        if each.not_started is not None:
            run.fail(f"{each.server} could not be measured: {each.not_started}")
        for tool, why in each.refused.items():
            run.fail(
                f"{each.server}: {tool} is named in loadTools and was not called, because {why}; take it out of loadTools"
            )


SPEC = JobSpec(
    location=CLOUDMAKE,
    name="mcp_load_test",
    schedule=Cron("0 2 * * *"),
    owner=OWNER,
    summary="Measures p95 latency and error rate of every MCP server.",
    description=(
        "Asks each server of CLOUDMAKE_MCP_CONFIG for its tools, 40 times in turn and 40 times with 8 at once, then calls the "
        "tools that its loadTools names, if the server says that they only read. Writes one row a server and day to "
        "mcp_server_metrics, which a second run changes, and one for each call to mcp_tool_invocations. Nothing is "
        "deleted. A limit that is broken fails the asset's check; a server that cannot be started, or a tool that may "
        "not be called, ends the run failed after the others are measured."
    ),
    settings=McpLoadTestSettings,
    run=mcp_load_test,
    prepare=prepare,
    required_variables=("ENVIRONMENT", VARIABLE),
    is_asset=True,
    checks=(LIST_P95, WITHIN_LIMITS),
    console_report=report,
    database=DatabaseWork(
        targets=(TABLE, CALLS),
        privileges={TABLE: ("SELECT", "INSERT", "UPDATE"), CALLS: ("INSERT",)},
    ),
)
