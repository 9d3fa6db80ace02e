"""Asks CloudMake what the doctor does."""

from typing import Any

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cloudmake.findings import QUESTIONS
from cath_dagster.core.inspection.own_findings import Asked, ask_all
from cath_dagster.core.model.finding import Finding
from tests.cloudmake.cloudmake import CloudMake


def ask(cloudmake: CloudMake, questions: Any = QUESTIONS) -> list[Finding]:
    """Return what is found when these questions are asked of a service, as of its own time."""
    with EnvironmentBackends("CLOUDMAKE", cloudmake.environ).database("test") as database:
        return list(ask_all(questions, Asked(database=database, environ=cloudmake.environ, now=cloudmake.as_of)))
