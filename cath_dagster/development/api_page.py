"""The page of the API, from its own OpenAPI document."""

from collections.abc import Iterator, Mapping
from typing import Any

from cath_dagster.web.api.document import application_document

HEAD = """# The API

Every endpoint of [the console](console.md), from its OpenAPI document, which `/api/v1/openapi.json` serves to a `viewer`. A request
says who sends it by `Authorization: Bearer cdt_…`, or through the proxy. Lists are `{items, next_cursor}`; a refusal is
`application/problem+json`. `make docs` writes this page.
"""


def render_api() -> str:
    """Return the page."""
    document = application_document()
    parts = [HEAD]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append("\n".join(_operation(method, path, operation, document)))
    return "\n".join(parts)


def _operation(method: str, path: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    yield f"## `{method.upper()} {path}`"
    yield ""
    yield " ".join(operation["description"].split())
    yield ""
    rows = [*_parameters(operation), *_body(operation, document)]
    if rows:
        yield "| name | in | what it is |"
        yield "|---|---|---|"
        yield from (f"| `{name}` | {place} | {says} |" for name, place, says in rows)
        yield ""
    answers = ", ".join(f"`{status}`" for status in operation["responses"])
    yield f"Answers: {answers}."
    yield ""


def _parameters(operation: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for each in operation.get("parameters", ()):
        says = each.get("description") or each["schema"].get("description", "")
        yield each["name"], each["in"], _line(_kind(each["schema"]), says)


def _body(operation: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return
    schema = content["schema"]
    found = next((each for each in schema.get("anyOf", [schema]) if "$ref" in each), schema)
    model = document["components"]["schemas"][found["$ref"].rpartition("/")[2]]
    required = model.get("required", ())
    for name, each in model["properties"].items():
        kind = _kind(each) + (", required" if name in required else "")
        yield name, "body", _line(kind, each.get("description", ""))


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(kind for each in schema["anyOf"] if (kind := _kind(each)) != "null")
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2]).lower()
    kind = str(schema.get("type", "anything"))
    return f"list of {_kind(schema['items'])}" if kind == "array" else str(schema.get("format", kind))


def _line(*parts: str) -> str:
    return ". ".join(part.rstrip(".") for part in parts if part).replace("|", "\\|")
