"""Routes of OpenAPI documents: what counts, and what is no such document."""

from typing import Any

import pytest

from cath_dagster.cloudmake.drift.openapi import read_routes
from cath_dagster.cloudmake.drift.source import UnreadableError


def document(paths: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": paths, **others}


def test_a_route_is_its_method_its_path_its_parameters_and_its_codes() -> None:
    paths = {
        "/users/{userId}": {
            "summary": "not a method",
            "parameters": [
                {"in": "path", "name": "userId", "required": True},
                {"$ref": "#/components/parameters/a~1b"},
            ],
            "get": {
                "parameters": [
                    {"in": "query", "name": "page", "required": True},
                    {"in": "header", "name": "Authorization"},
                    {"in": "header", "name": "X-Trace"},
                ],
                "responses": {200: {}, "4xx": {}, "default": {}},
            },
            "delete": {},
        }
    }
    parameters = {"a/b": {"$ref": "#/components/parameters/c%20d"}, "c d": {"in": "query", "name": "page"}}

    assert read_routes(document(paths, components={"parameters": parameters}), "x") == {
        "GET /users/{}": {"parameters": "header:x-trace query:page!", "responses": "200 4XX DEFAULT"},
        "DELETE /users/{}": {"parameters": "query:page", "responses": ""},
    }


def test_the_path_of_the_first_server_stands_before_all() -> None:
    servers = [{"url": "https://api.example.org/v1/"}, {"url": "http://localhost/other"}]

    assert list(read_routes(document({"/a": {"get": {}}}, servers=servers), "x")) == ["GET /v1/a"]


def test_a_path_may_lie_elsewhere_in_the_document() -> None:
    paths = {"/a": {"$ref": "#/components/pathItems/a"}}

    assert list(read_routes(document(paths, components={"pathItems": {"a": {"post": {}}}}), "x")) == ["POST /a"]


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        {"error": "unauthorised"},
        {"openapi": "3.1.0"},
        {"openapi": "2.0", "paths": {}},
        {"swagger": "2.0", "paths": {}},
        document({"/a": None}),
        document({"/a": {"get": {"parameters": [{"in": "query"}]}}}),
        document({"/a": {"get": {"parameters": [{"$ref": "other.yaml#/x"}]}}}),
        document({"/a": {"get": {"parameters": [{"$ref": "#/nowhere"}]}}}),
        document({"/a": {"$ref": "#/paths/~1a"}}),
    ],
)
def test_what_is_no_such_document_is_unreadable_and_named(given: object) -> None:
    with pytest.raises(UnreadableError, match="the document"):
        read_routes(given, "the document")
