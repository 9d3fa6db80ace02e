"""Which limits a measurement breaks, how badly, in words."""

from dataclasses import dataclass
from enum import IntEnum

from cath_dagster.cloudmake.servers.measurement import Measurement
from cath_dagster.cloudmake.servers.thresholds import Limit, Thresholds


class Level(IntEnum):
    WARNING = 1
    ALERT = 2
    SEVERE = 3


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A limit that a server went beyond."""

    server: str
    level: Level
    says: str


def broken_limits(measured: Measurement, thresholds: Thresholds, alert: Limit) -> list[Broken]:
    """Return for latency, errors and each tool's latency the worst limit that is broken, if one is."""
    levels = [
        (Level.SEVERE, thresholds.severe),
        (Level.ALERT, alert),
        (Level.WARNING, thresholds.warning(measured.server)),
    ]
    latencies = {"p95 of tools/list": measured.p95_ms} | {
        f"p95 of {tool}": p95_ms for tool, p95_ms in measured.tool_p95_ms.items()
    }
    found = [
        _worst(measured.server, what, p95, [(level, limit.p95_ms) for level, limit in levels], "ms")
        for what, p95 in latencies.items()
    ]
    errors = [(level, limit.error_percent) for level, limit in levels]
    found.append(_worst(measured.server, "failed calls", measured.error_percent, errors, "%"))
    return [broken for broken in found if broken is not None]


def _worst(server: str, what: str, value: float, limits: list[tuple[Level, float]], unit: str) -> Broken | None:
    for level, limit in sorted(limits, reverse=True):
        if value > limit:
            says = f"{server}: {what} {value:.2f} {unit} > {limit:g} {unit} ({level.name.lower()})"
            return Broken(server=server, level=level, says=says)
    return None
