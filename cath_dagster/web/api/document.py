"""The OpenAPI document: what FastAPI derives from the endpoints, with the problems that each may answer."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cath_dagster.web.api.schemas import Problem
from cath_dagster.web.problems import MEDIA_TYPE
from cath_dagster.web.settings import ConsoleSettings

VERSION = "1"
OPEN = ("/healthz", "/readyz")
"""For whoever asks."""
SAYS = {
    "400": "The body is no JSON",
    "401": "Nobody has said who he is, or a token is unknown, expired or revoked",
    "403": "The role is too low, or a change came from another site",
    "404": "There is no such thing",
    "409": "Not as things stand: it is going, held, decided, or ended already",
    "413": "The body is too long",
    "422": "What was sent cannot be used; the detail names it",
    "429": "Too many wrong tokens",
    "502": "Dagster refuses",
    "503": "Dagster's database, or its web server, does not answer",
}
OF_ALL = ("401", "403", "422", "429", "503")
OF_CHANGES = ("400", "409", "413", "502")


def write_document(app: FastAPI) -> dict[str, Any]:
    """Return the document, made once."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document: dict[str, Any] = get_openapi(
        title="cath-dagster",
        version=VERSION,
        openapi_version="3.1.0",
        description="All scheduled work: what runs, what ran, what it did, who started it; and control over it.",
        routes=app.routes,
    )
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components["Problem"] = Problem.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "Made by `cath-dagster console token create`."},
        "person": {
            "type": "apiKey",
            "in": "header",
            "name": ConsoleSettings.user_header,
            "description": "Set by the authenticating proxy, and by nobody else.",
        },
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _describe(path, method, operation)
    app.openapi_schema = document
    return document


def application_document() -> dict[str, Any]:
    """Return the document of every endpoint, without a console behind them."""
    from cath_dagster.web.app import add_endpoints

    app = FastAPI()
    add_endpoints(app)
    return write_document(app)


def _describe(path: str, method: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    if path in OPEN:
        return
    operation["security"] = [{"token": []}, {"person": []}]
    statuses = [
        *OF_ALL,
        *(OF_CHANGES if method != "get" else ()),
        *(("404",) if "{" in path or method == "post" else ()),
    ]
    for status in sorted(statuses):
        answers[status] = {
            "description": SAYS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
