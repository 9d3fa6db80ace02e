"""What was measured of one server: its calls, and the numbers that they come to."""

import enum
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cath_dagster.cloudmake.nearest_rank import nearest_rank
from cath_dagster.core.ports.mcp import McpError, McpFault

LIST = "tools/list"
FULL_PERCENT = 100.0


class Phase(enum.StrEnum):
    WARM_UP = "warm-up"
    IN_TURN = "in turn"
    AT_ONCE = "at once"
    TOOL = "tool"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One question to the server. `began` is in the run's own seconds."""

    tool: str
    phase: Phase
    began: float
    seconds: float
    fault: McpFault | None = None
    was_held: bool = False
    """Whether it waited for its turn, so that the server was not asked too often."""


@dataclass(kw_only=True)
class Measurement:
    """All that is known of a server after it was measured."""

    server: str
    timeout_seconds: float
    calls: list[Call] = field(default_factory=list)
    refused: Mapping[str, str] = field(default_factory=dict)
    called: Sequence[str] = ()
    not_started: McpError | None = None
    """Why there was no connection at all."""
    cut_short: McpFault | None = None
    """Why it was not asked as often as it should have been."""

    @property
    def p95_ms(self) -> float:
        """Of the lists in turn, by nearest rank; the time-out where there is no sample."""
        return self._p95(Phase.IN_TURN, LIST)

    @property
    def p50_ms(self) -> float | None:
        return self._median(Phase.IN_TURN)

    @property
    def parallel_ms(self) -> float | None:
        return self._median(Phase.AT_ONCE)

    @property
    def tool_p95_ms(self) -> dict[str, float]:
        """By tool that was called."""
        return {tool: self._p95(Phase.TOOL, tool) for tool in self.called}

    @property
    def counted(self) -> list[Call]:
        return [call for call in self.calls if call.phase is not Phase.WARM_UP]

    @property
    def error_percent(self) -> float:
        """Of all calls but the warm-up; where none could be made it is all of them."""
        counted = self.counted
        failed = sum(1 for call in counted if call.fault is not None)
        return FULL_PERCENT * failed / len(counted) if counted else FULL_PERCENT

    @property
    def errors(self) -> Counter[str]:
        """How often each kind of error came."""
        found = Counter(str(call.fault) for call in self.counted if call.fault is not None)
        if self.not_started is not None:
            found[str(self.not_started.fault)] += 1
        return found

    def _p95(self, phase: Phase, tool: str) -> float:
        rank = nearest_rank(self._latencies(phase, tool), 95)
        return 1000 * (self.timeout_seconds if rank is None else rank)

    def _median(self, phase: Phase) -> float | None:
        latencies = self._latencies(phase, LIST)
        return 1000 * statistics.median(latencies) if latencies else None

    def _latencies(self, phase: Phase, tool: str) -> list[float]:
        """Return those of calls that went well; a call that timed out took as long as it was waited for."""
        return [
            call.seconds if call.fault is None else self.timeout_seconds
            for call in self.calls
            if call.phase is phase and call.tool == tool and call.fault in (None, McpFault.TIMEOUT)
        ]
