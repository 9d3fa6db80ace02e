"""Look every five minutes whether the MCP servers answer, and tell outages once, when they begin and when they end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.cloudmake import CLOUDMAKE, OWNER
from cath_dagster.cloudmake.servers import breaker, configuration, outages, verdict
from cath_dagster.cloudmake.servers.breaker import CLOSED, HALF_OPEN, OPEN, Breaker
from cath_dagster.cloudmake.servers.configuration import Server, configured_servers
from cath_dagster.cloudmake.servers.console import report
from cath_dagster.cloudmake.servers.watch import Looked, Watch
from cath_dagster.core import telemetry
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import GatedSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

TABLE = "circuit_breaker"


class McpOutageDetectionSettings(GatedSettings):
    """Which servers are looked at, and when a breaker opens and closes."""

    servers: str = Field(
        default="",
        description="Servers to look at, by name with commas between; all of the configuration if empty. The others are "
        "told as not looked at.",
    )
    probe: bool = Field(
        default=True,
        description="Ask the servers. If false, a run goes by what the services have recorded in the breakers alone.",
    )
    threshold_seconds: int = Field(
        default=90, ge=1, le=86_400, description="A server is degraded when its breaker has been open for longer."
    )
    failures: int = Field(default=10, ge=1, le=1000, description="Failures within the window that open a breaker.")
    window_seconds: int = Field(default=60, ge=1, le=3600, description="Seconds within which failures are counted.")
    half_open_seconds: int = Field(
        default=30,
        ge=15,
        le=3600,
        description="Seconds after the last failure until one caller at a time may try again, and for which it may take.",
    )
    successes: int = Field(default=3, ge=1, le=100, description="Successes that close a half-open breaker.")

    @property
    def threshold(self) -> timedelta:
        return timedelta(seconds=self.threshold_seconds)

    @property
    def limits(self) -> dict[str, int]:
        """By the columns of a breaker."""
        return {
            "failure_limit": self.failures,
            "window_seconds": self.window_seconds,
            "half_open_seconds": self.half_open_seconds,
            "success_limit": self.successes,
        }


@dataclass(frozen=True, kw_only=True)
class _Clock:
    """The time as a run has it: its reference time, and what has passed since it began."""

    run: JobRun
    began: float

    def now(self) -> datetime:
        return self.run.as_of + timedelta(seconds=self.run.clock() - self.began)


def prepare(run: JobRun, settings: McpOutageDetectionSettings) -> None:
    """Look at the configuration before a server is asked anything."""
    configured_servers(run, settings.servers)


def mcp_outage_detection(run: JobRun, settings: McpOutageDetectionSettings) -> None:
    """Ask all servers at once, open and close outages by their breakers, and judge."""
    run.preflight()
    clock = _Clock(run=run, began=run.clock())
    servers = configured_servers(run, settings.servers)
    before = run.database.transaction(breaker.read)
    _note_missed(run, servers, before)
    if run.dry_run:
        _look_only(run, settings, clock, servers, before)
        return
    names = [server.name for server in servers]
    run.database.transaction(lambda connection: breaker.set_limits(connection, names, settings.limits))
    looked = _watch(run, settings, clock).look(servers) if settings.probe else []
    found, begun, ended = _settle(run, settings, names, clock.now())
    judged = verdict.judge(found.values(), clock.now(), settings.threshold)
    run.judge(verdict.CHECK, judged, gates=settings.gate)
    _record(run, settings, clock, found, looked, begun, ended)
    _fail(run, settings, clock.now(), found, looked)


def _note_missed(run: JobRun, servers: Sequence[Server], before: Mapping[str, Breaker]) -> None:
    """Tell of servers that earlier ticks should have looked at and did not: nobody knows how they were."""
    missed = [before[server.name] for server in servers if server.name in before]
    missed = [each for each in missed if verdict.not_looked_at(each, run.as_of)]
    if missed:
        since = min(each.looked_at for each in missed if each.looked_at is not None)
        names = ", ".join(each.name for each in missed)
        run.note(f"not looked at since {since:%Y-%m-%d %H:%M:%S %Z}, until this run: {names}")


def _watch(run: JobRun, settings: McpOutageDetectionSettings, clock: _Clock) -> Watch:
    def tell(server: str, before: str, found: Breaker) -> None:
        values: dict[str, Scalar] = {
            "server": server,
            "before": before,
            "state": found.state,
            "failures": found.failures,
            "code": found.detail,
        }
        with telemetry.span("breaker", **values):
            said = " ".join(f"{name}={value}" for name, value in values.items() if value is not None)
            run.reporter.info(f"breaker {said}", **values)

    return Watch(
        ask=configuration.check_answers,
        transaction=run.database.transaction,
        now=clock.now,
        sleep=run.patience.sleep,
        half_open=timedelta(seconds=settings.half_open_seconds),
        on_change=tell,
    )


def _look_only(
    run: JobRun,
    settings: McpOutageDetectionSettings,
    clock: _Clock,
    servers: Sequence[Server],
    before: Mapping[str, Breaker],
) -> None:
    """Ask every server once, and tell how it is and how its breaker stands; nothing is recorded."""
    looked = _watch(run, settings, clock).ask_once(servers) if settings.probe else []
    details = _states(before, run.as_of, settings.threshold) | _unanswered(looked)
    run.record(Outcome(target=TABLE, matched=len(servers), details=details))


def _settle(
    run: JobRun, settings: McpOutageDetectionSettings, names: Sequence[str], now: datetime
) -> tuple[dict[str, Breaker], list[str], list[outages.Ended]]:
    """Write down in one transaction who was looked at, and which outages begin and end."""

    def work(connection: sa.Connection) -> tuple[dict[str, Breaker], list[str], list[outages.Ended]]:
        breaker.mark_looked_at(connection, names, now, are_all=not settings.servers)
        found = breaker.read(connection)
        degraded = [each.name for each in found.values() if each.is_degraded(now, settings.threshold)]
        begun, ended = outages.settle(connection, found, degraded, now=now, run_id=run.run_id)
        return found, begun, ended

    return run.database.transaction(work)


def _record(
    run: JobRun,
    settings: McpOutageDetectionSettings,
    clock: _Clock,
    found: Mapping[str, Breaker],
    looked: Sequence[Looked],
    begun: Sequence[str],
    ended: Sequence[outages.Ended],
) -> None:
    details = _states(found, clock.now(), settings.threshold) | _unanswered(looked)
    details |= {
        "outages_begun": len(begun),
        "outages_ended": len(ended),
        "transitions": [f"{each.server}: {before} to {after}" for each in looked for before, after in each.transitions],
        "recovered": [f"{each.server} after {each.lasted.total_seconds():.0f} s" for each in ended],
    }
    run.record(
        Outcome(
            target=TABLE,
            matched=len(found),
            seconds=run.clock() - clock.began,
            details={name: value for name, value in details.items() if value != []},
        )
    )
    for each in ended:
        run.note(f"{each.server} has recovered after {each.lasted.total_seconds():.0f} s")


def _states(found: Mapping[str, Breaker], now: datetime, threshold: timedelta) -> dict[str, Scalar]:
    """Return which breakers are not closed; the numbers are those that are plotted."""
    degraded = [each for each in found.values() if each.is_degraded(now, threshold)]
    by_state = {state: [each.name for each in found.values() if each.state == state] for state in (OPEN, HALF_OPEN)}
    details: dict[str, Scalar] = {
        "open_breakers": len(by_state[OPEN]) + len(by_state[HALF_OPEN]),
        "degraded_servers": len(degraded),
        "open": by_state[OPEN],
        "half_open": by_state[HALF_OPEN],
        "degraded": [f"{each.name} since {each.opened_at:%Y-%m-%d %H:%M:%S %Z}" for each in degraded],
        "misconfigured": [each.name for each in found.values() if each.misconfigured_since is not None],
    }
    return {name: value for name, value in details.items() if value != []}


def _unanswered(looked: Sequence[Looked]) -> dict[str, Scalar]:
    silent = [f"{each.server}: {each.fault}" for each in looked if each.fault is not None]
    return {"unanswered": silent} if silent else {}


def _fail(
    run: JobRun,
    settings: McpOutageDetectionSettings,
    now: datetime,
    found: Mapping[str, Breaker],
    looked: Sequence[Looked],
) -> None:
    """Tell of servers of which nobody can say that they are well, and nobody that they are out."""
    for each in looked:
        if each.is_misconfigured:
            run.fail(
                f"{each.server} is misconfigured: it answers, and refuses our credentials ({each.fault}); "
                "mend them where the MCP configuration takes them from"
            )
        elif each.fault is not None:
            known = found.get(each.server) or Breaker(name=each.server)
            if known.is_degraded(now, settings.threshold):
                continue
            state = known.state
            state = "its breaker is closed" if state == CLOSED else f"its breaker is {state}"
            run.fail(
                f"{each.server} did not answer when it was last asked ({each.fault}); {state}, the next run tells more"
            )


SPEC = JobSpec(
    location=CLOUDMAKE,
    name="mcp_outage_detection",
    schedule=Cron("*/5 * * * *"),
    owner=OWNER,
    summary="Asks every MCP server whether it answers, and tells outages of more than 90 s.",
    description=(
        "Asks each server of CLOUDMAKE_MCP_CONFIG for its tools, all at once, and records it in maintenance.circuit_breaker, "
        "which services write by maintenance.breaker_record as well. A server that does not answer is asked again for 95 s. One "
        "whose breaker has been open for more than 90 s is degraded: an outage is opened in maintenance.mcp_outage, "
        "with what to do meanwhile, and the check no_degraded_server fails until it has recovered. Nothing is deleted."
    ),
    settings=McpOutageDetectionSettings,
    run=mcp_outage_detection,
    prepare=prepare,
    required_variables=(configuration.VARIABLE,),
    timeout=timedelta(minutes=15),
    checks=(verdict.CHECK,),
    console_report=report,
    database=DatabaseWork(
        targets=(TABLE,),
        privileges={
            "maintenance.circuit_breaker": ("SELECT", "INSERT", "UPDATE"),
            "maintenance.mcp_outage": ("SELECT", "INSERT", "UPDATE"),
        },
    ),
)
