"""The application: the API, what probes ask, and how every failure becomes an answer."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from cath_dagster.core.errors import ConfigurationError, DatabaseUnavailableError, MaintenanceError, PreflightError
from cath_dagster.web.api import approvals, events, health, incidents, jobs, looks, runs, tokens
from cath_dagster.web.api.answers import answer, problem_answer
from cath_dagster.web.api.dependencies import TheConsole, ThePrincipal
from cath_dagster.web.api.document import write_document
from cath_dagster.web.console import Console
from cath_dagster.web.pages import forms as page_forms
from cath_dagster.web.pages import looks as page_looks
from cath_dagster.web.pages import sign_in
from cath_dagster.web.pages.rendering import render_problem
from cath_dagster.web.problems import Problem, conflict, unavailable, unusable
from cath_dagster.web.rights import Action
from cath_dagster.web.shield import Shield
from cath_dagster.web.tokens import TokenError

API = "/api/v1"
LONGEST = 2_000
TITLES = {400: "no request", 404: "not found", 405: "not allowed here"}
log = logging.getLogger(__name__)


def create_app(console: Console) -> FastAPI:
    """Return the application; nothing is asked of the outside yet."""
    # Its own pages of documentation come from another host.
    app = FastAPI(title="cath-dagster", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.console = console
    app.state.streams = 0
    add_endpoints(app)
    for router in (sign_in.router, page_looks.router, page_forms.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(packages=[("cath_dagster.web", "static")]), name="static")
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
    for router in (
        jobs.router,
        incidents.router,
        runs.router,
        approvals.router,
        looks.router,
        tokens.router,
        events.router,
    ):
        app.include_router(router, prefix=API)
    app.include_router(health.router)


def _handle_failures(app: FastAPI) -> None:
    """Have every failure answered as a problem; none shows a statement, a value of the database's, or a stack."""
    handlers: dict[type[Exception], Callable[[Any], Problem]] = {
        Problem: lambda error: error,
        RequestValidationError: _invalid,
        HTTPException: _plain,
        SQLAlchemyError: _no_database,
        MaintenanceError: _ours,
        Exception: _unforeseen,
    }
    for kind, problem_of in handlers.items():
        app.add_exception_handler(kind, _answering(problem_of))


def _answering(problem_of: Callable[[Any], Problem]) -> Callable[[Request, Exception], Response]:
    def handle(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        return render_problem(problem) if _is_of_a_page(request) else problem_answer(problem)

    return handle


def _is_of_a_page(request: Request) -> bool:
    """Return whether a browser waits for a page; all others are told in JSON."""
    return not request.url.path.startswith(API) and "text/html" in request.headers.get("accept", "")


def _invalid(error: RequestValidationError) -> Problem:
    errors = [{"where": _where(item["loc"]), "says": str(item["msg"])} for item in error.errors()]
    says = "; ".join(f"{each['where']}: {each['says']}" for each in errors)
    return unusable(says[:LONGEST] or "the request cannot be used", errors=errors[:20])


def _where(places: Sequence[Any]) -> str:
    return ".".join(str(place) for place in places)[:200]


def _plain(error: HTTPException) -> Problem:
    if isinstance(error.__cause__, Problem):
        # What we raised while the body was read.
        return error.__cause__
    title = TITLES.get(error.status_code, "cannot be done")
    return Problem(error.status_code, title, str(error.detail), headers=error.headers)


def _no_database(error: Exception) -> Problem:
    # Of the error its kind alone: its words may have a host, a user, a statement.
    log.warning("Dagster's database did not answer: %s", type(error).__name__)
    return unavailable("Dagster's database does not answer, or takes too long; what runs is not hurt by it")


def _ours(error: MaintenanceError) -> Problem:
    if isinstance(error, ConfigurationError):
        return unusable(str(error))
    if isinstance(error, TokenError):
        return conflict(str(error))
    if isinstance(error, DatabaseUnavailableError | PreflightError):
        return _no_database(error)
    return _unforeseen(error)


def _unforeseen(error: Exception) -> Problem:
    log.error("a request failed: %s", type(error).__name__, exc_info=error)
    return Problem(500, "a mistake of ours", "the console's log says more")
