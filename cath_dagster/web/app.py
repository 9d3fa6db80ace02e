"""The application: the API, what probes ask, and how every failure becomes an answer."""

import logging
from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from cath_dagster.core.errors import ConfigurationError, DatabaseUnavailableError, MaintenanceError, PreflightError
from cath_dagster.web.api import approvals, events, health, jobs, looks, runs, tokens
from cath_dagster.web.api.answers import answer, problem_answer
from cath_dagster.web.api.dependencies import TheConsole, ThePrincipal
from cath_dagster.web.api.document import write_document
from cath_dagster.web.console import Console
from cath_dagster.web.pages import sign_in
from cath_dagster.web.problems import Problem, conflict, unavailable, unusable
from cath_dagster.web.rights import Action
from cath_dagster.web.shield import Shield
from cath_dagster.web.tokens import TokenError

API = "/api/v1"
LONGEST = 2_000
TITLES = {400: "no request", 404: "not found", 405: "not allowed here"}
E = TypeVar("E", bound=Exception)
log = logging.getLogger(__name__)


def create_app(console: Console) -> FastAPI:
    """Return the application; nothing is asked of the outside yet."""
    # Its own pages of documentation come from another host.
    app = FastAPI(title="cath-dagster", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.console = console
    app.state.streams = 0
    add_endpoints(app)
    app.include_router(sign_in.router)
    app.add_middleware(Shield)
    _handle_failures(app)

    @app.get(f"{API}/openapi.json", include_in_schema=False)
    def show_document(console: TheConsole, principal: ThePrincipal) -> Response:
        if not principal.may_somewhere(Action.VIEW):
            console.require(principal, Action.VIEW, "any location")
        return answer(write_document(app))

    return app


def add_endpoints(app: FastAPI) -> None:
    """Give an application every endpoint that the OpenAPI document has."""
    for router in (jobs.router, runs.router, approvals.router, looks.router, tokens.router, events.router):
        app.include_router(router, prefix=API)
    app.include_router(health.router)


def _handle_failures(app: FastAPI) -> None:
    """Have every failure answered as a problem; none shows a statement, a value of the database's, or a stack."""
    app.add_exception_handler(Problem, lambda _, error: problem_answer(_as(Problem, error)))
    app.add_exception_handler(RequestValidationError, lambda _, error: _invalid(_as(RequestValidationError, error)))
    app.add_exception_handler(HTTPException, lambda _, error: _plain(_as(HTTPException, error)))
    app.add_exception_handler(SQLAlchemyError, lambda _, error: _no_database(error))
    app.add_exception_handler(MaintenanceError, lambda _, error: _ours(error))
    app.add_exception_handler(Exception, _unforeseen)


def _as(kind: type[E], error: Exception) -> E:
    if not isinstance(error, kind):
        raise TypeError(f"not a {kind.__name__}: {type(error).__name__}")
    return error


def _invalid(error: RequestValidationError) -> Response:
    errors = [{"where": _where(item["loc"]), "says": str(item["msg"])} for item in error.errors()]
    says = "; ".join(f"{each['where']}: {each['says']}" for each in errors)
    return problem_answer(unusable(says[:LONGEST] or "the request cannot be used", errors=errors[:20]))


def _where(places: Sequence[Any]) -> str:
    return ".".join(str(place) for place in places)[:200]


def _plain(error: HTTPException) -> Response:
    title = TITLES.get(error.status_code, "cannot be done")
    return problem_answer(Problem(error.status_code, title, str(error.detail), headers=error.headers))


def _no_database(error: Exception) -> Response:
    # Of the error its kind alone: its words may have a host, a user, a statement.
    log.warning("Dagster's database did not answer: %s", type(error).__name__)
    return problem_answer(
        unavailable("Dagster's database does not answer, or takes too long; what runs is not hurt by it")
    )


def _ours(error: Exception) -> Response:
    if isinstance(error, ConfigurationError):
        return problem_answer(unusable(str(error)))
    if isinstance(error, TokenError):
        return problem_answer(conflict(str(error)))
    if isinstance(error, DatabaseUnavailableError | PreflightError):
        return _no_database(error)
    return _unforeseen(None, error)


def _unforeseen(_: Request | None, error: Exception) -> Response:
    log.error("a request failed: %s", type(error).__name__, exc_info=error)
    return problem_answer(Problem(500, "a mistake of ours", "the console's log says more"))
