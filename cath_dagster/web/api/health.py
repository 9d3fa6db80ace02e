"""What probes and Prometheus ask."""

from fastapi import APIRouter, Response
from sqlalchemy.exc import SQLAlchemyError

from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.maintenance.tables import check_current
from cath_dagster.operations import OPERATIONS
from cath_dagster.web.api import schemas
from cath_dagster.web.api.answers import answer
from cath_dagster.web.api.dependencies import TheConsole, ThePrincipal
from cath_dagster.web.api.jobs import seen_locations
from cath_dagster.web.console import Console
from cath_dagster.web.metrics import CONTENT_TYPE, render_metrics

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=schemas.Health)
async def is_alive() -> Response:
    """Say that this process answers, and ask nobody else."""
    return answer({"status": "ok"})


@router.get(
    "/readyz",
    response_model=schemas.Readiness,
    responses={503: {"model": schemas.Readiness, "description": "Not ready"}},
)
def is_ready(console: TheConsole) -> Response:
    """Say whether Dagster's database answers and has our tables as this version needs them, without which nothing can be shown. Without its web server nothing can be
    launched, and all else works: that is said and is no fault.
    """
    database = _database_answers(console)
    told = {
        "status": "ready" if database else "not ready",
        "database": database,
        "dagster": console.orchestrator.is_alive(),
        "scheduling": "running" if console.settings.is_scheduling else "stopped",
    }
    return answer(told, status=200 if database else 503)


def _database_answers(console: Console) -> bool:
    try:
        with console.reader.connect() as connection:
            check_current(connection, location=OPERATIONS.name, revision=OPERATIONS.revision)
    except (SQLAlchemyError, MaintenanceError):
        return False
    return True


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format"}
    },
)
def show_metrics(console: TheConsole, principal: ThePrincipal) -> Response:
    """Tell every job's state and totals in Prometheus' text format."""
    locations = seen_locations(console, principal, None)
    return Response(render_metrics(console, locations), media_type=CONTENT_TYPE)
