"""How fast MCP servers may be expected to be: the service's own thresholds, and what is too much for any of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cath_dagster.cloudmake.servers.json_files import load_json, mapping, number, object_of
from cath_dagster.core.run.job_run import JobRun

VARIABLE = "MCP_THRESHOLDS"
_LIMITS = {"p95LatencyMs": "p95_ms", "maxErrorRatePct": "error_percent"}
_MULTIPLIERS = {"p95LatencyMsMultiplier": "p95_ms", "maxErrorRatePctMultiplier": "error_percent"}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a server may come up to, and not go beyond."""

    p95_ms: float
    error_percent: float


DEFAULT = Limit(p95_ms=500, error_percent=5)
SEVERE = Limit(p95_ms=1000, error_percent=10)
WARNING_TIMES = Limit(p95_ms=1.5, error_percent=2)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The service's own, by server; `warning_times` says how often they may be had before somebody is warned."""

    servers: Mapping[str, Limit] = field(default_factory=dict)
    default: Limit = DEFAULT
    severe: Limit = SEVERE
    warning_times: Limit = WARNING_TIMES

    def warning(self, server: str) -> Limit:
        """Return beyond what somebody is warned of a server."""
        own = self.servers.get(server, self.default)
        times = self.warning_times
        return Limit(p95_ms=own.p95_ms * times.p95_ms, error_percent=own.error_percent * times.error_percent)


def configured_thresholds(run: JobRun) -> Thresholds:
    """Return those of the file that `CLOUDMAKE_MCP_THRESHOLDS` names, or what is decided where it names none."""
    path = run.optional(VARIABLE)
    return read_thresholds(Path(path)) if path else Thresholds()


def read_thresholds(path: Path) -> Thresholds:
    """Return the thresholds of a file like the service's `loadTestThresholds.json`."""
    given = object_of(load_json(path, VARIABLE), f"{path}", {"servers", "globalDefaults", "alerting", "metadata"})
    alerting = object_of(given.get("alerting", {}), f"{path}: alerting", {"criticalThreshold", "warningThreshold"})
    servers = mapping(given.get("servers", {}), f"{path}: servers")
    default = _limit(given.get("globalDefaults", {}), f"{path}: globalDefaults", _LIMITS, DEFAULT)
    return Thresholds(
        servers={name: _limit(entry, f"{path}: {name}", _LIMITS, default) for name, entry in servers.items()},
        default=default,
        severe=_limit(alerting.get("criticalThreshold", {}), f"{path}: criticalThreshold", _LIMITS, SEVERE),
        warning_times=_limit(
            alerting.get("warningThreshold", {}), f"{path}: warningThreshold", _MULTIPLIERS, WARNING_TIMES
        ),
    )


def _limit(given: Any, where: str, names: Mapping[str, str], otherwise: Limit) -> Limit:
    entry = object_of(given, where, {*names, "description"})
    values = {ours: number(entry[theirs], f"{where}: {theirs}") for theirs, ours in names.items() if theirs in entry}
    return Limit(**{"p95_ms": otherwise.p95_ms, "error_percent": otherwise.error_percent, **values})
