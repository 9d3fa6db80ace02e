"""The API against its own OpenAPI document: whatever is sent, no mistake of ours, and every answer as it is described."""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.web.world import PROXY, World

EXAMPLES = 4
"""An operation: the suite's time is everybody's. `search` of the profiles looks for longer."""
ADMIN = {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "all-admin"}
CHECKS: list[Any] = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
STREAMS = {"/api/v1/events"}
"""They do not end."""


@pytest.fixture
def document(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.ask("GET", "/api/v1/openapi.json").json()
    return found


def test_the_document_is_of_openapi_3_1_and_has_a_problem_for_every_refusal(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
            for status, answer in operation["responses"].items():
                if status.startswith("4"):
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


def test_whatever_is_sent_is_answered_as_the_document_says(world: World, document: dict[str, Any]) -> None:
    world.add_history(run_id="run-1", status="refused", outcomes=[{"target": "t", "matched": 3}])
    schema: Any = schemathesis.openapi.from_asgi("/api/v1/openapi.json", through_the_proxy(world), headers=ADMIN)

    sent = sum(try_operation(found.ok()) for found in schema.get_all_operations() if found.ok().path not in STREAMS)

    assert sent > EXAMPLES * 10


def through_the_proxy(world: World) -> ASGIApp:
    """Return the application as the proxy's socket reaches it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await world.proxy.app({**scope, "client": (PROXY, 50_000)}, receive, send)

    return app


def try_operation(operation: Any) -> int:
    """Send an operation some examples, each held against the document; return how many."""
    sent = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def try_one(case: Any) -> None:
        nonlocal sent
        sent += 1
        case.call_and_validate(headers=ADMIN, checks=CHECKS)

    try_one()
    return sent


def test_a_value_in_every_place_of_the_document_is_json(document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(document)) == document
    assert PROXY not in json.dumps(document)
