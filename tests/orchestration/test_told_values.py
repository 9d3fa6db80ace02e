"""What a run tells by name beside its message, such as a breaker's state, reaches whoever collects JSON lines."""

import json

import dagster as dg
import pytest

from cath_dagster.adapters.logs import JsonReporter
from cath_dagster.cloudmake.jobs.mcp_outage_detection import SPEC
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.orchestration.config import CONSOLE
from cath_dagster.orchestration.console import LOGGERS
from cath_dagster.orchestration.runs import DagsterReporter

TOLD: dict[str, Scalar] = {"server": "github", "before": "CLOSED", "state": "OPEN", "failures": 10, "code": "timeout"}


def lines(said: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in said.splitlines() if '"breaker' in line]


def test_in_the_lines_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    JsonReporter(SPEC, "r1", {}).info("breaker github", **TOLD)

    (line,) = lines(capsys.readouterr().err)
    assert line["msg"] == "breaker github"
    assert TOLD.items() <= line.items()


def test_in_the_lines_of_a_dagster_run(capfd: pytest.CaptureFixture[str]) -> None:
    @dg.op
    def tell(context: dg.OpExecutionContext) -> None:
        DagsterReporter(context.log).info("breaker github", **TOLD)

    @dg.job(logger_defs=LOGGERS, config={"loggers": {CONSOLE: {}}})
    def telling() -> None:
        tell()

    telling.execute_in_process()

    (line,) = lines(capfd.readouterr().err)
    assert line["msg"] == "breaker github"
    assert TOLD.items() <= line.items()
