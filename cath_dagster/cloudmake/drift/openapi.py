"""Routes of an OpenAPI document, 3.0 or 3.1: paths, methods, parameters, response codes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from cath_dagster.cloudmake.drift.comparison import Aspects
from cath_dagster.cloudmake.drift.source import UnreadableError

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_TEMPLATE = re.compile(r"\{[^{}]*\}")
_IGNORED_HEADERS = frozenset({"accept", "authorization", "content-type"})
"""Of parameters of these names OpenAPI says that they are to be ignored."""
_MOST_REFERENCES = 20


def read_routes(document: object, name: str) -> dict[str, Aspects]:
    """Return the routes by `METHOD path`; raise `UnreadableError`, naming the document, where it is no such document."""
    known = isinstance(document, dict) and str(document.get("openapi")).startswith(("3.0", "3.1"))
    if not isinstance(document, dict) or not known or not isinstance(document.get("paths"), dict):
        raise UnreadableError(f"{name} is no OpenAPI document of 3.0 or 3.1 with paths")
    try:
        return dict(_Document(document, name).routes())
    except (AttributeError, KeyError, TypeError):
        raise UnreadableError(f"{name} has a path that is not as OpenAPI has them") from None


@dataclass(frozen=True)
class _Document:
    root: Mapping[str, Any]
    name: str

    def routes(self) -> Iterator[tuple[str, Aspects]]:
        base = self._base()
        for path, given in self.root["paths"].items():
            if not path.startswith("/"):
                continue
            item = self._resolved(given)
            for method in METHODS:
                if method in item:
                    # Parameters of a path are by their place: what they are called is nobody's business.
                    yield f"{method.upper()} {base}{_TEMPLATE.sub('{}', path)}", self._route(item, item[method])

    def _base(self) -> str:
        """Return the path that stands before all others, which servers may have in their URL."""
        servers = self.root.get("servers") or [{}]
        return urlsplit(str(servers[0].get("url", ""))).path.rstrip("/")

    def _route(self, item: Mapping[str, Any], operation: Mapping[str, Any]) -> Aspects:
        given = [*(item.get("parameters") or []), *(operation.get("parameters") or [])]
        parameters = dict(filter(None, (self._parameter(each) for each in given)))
        codes = sorted(str(code).upper() for code in operation.get("responses") or {})
        return {"parameters": " ".join(sorted(parameters.values())), "responses": " ".join(codes)}

    def _parameter(self, given: Mapping[str, Any]) -> tuple[tuple[str, str], str] | None:
        """Return what a parameter is known by, and how it is told; None for one that counts for nothing."""
        parameter = self._resolved(given)
        place, name = parameter["in"], parameter["name"]
        if place == "path":
            return None
        if place == "header":
            name = name.lower()
            if name in _IGNORED_HEADERS:
                return None
        return (place, name), f"{place}:{name}{'!' if parameter.get('required') else ''}"

    def _resolved(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a reference leads to, inside this document."""
        for _ in range(_MOST_REFERENCES):
            reference = given.get("$ref")
            if reference is None:
                return given
            given = self._find(str(reference))
        raise UnreadableError(f"{self.name} has a $ref that leads in a circle")

    def _find(self, reference: str) -> Mapping[str, Any]:
        if not reference.startswith("#/"):
            raise UnreadableError(
                f"{self.name} has a $ref out of the document: {reference}; only those inside are read"
            )
        found: Any = self.root
        for part in reference[2:].split("/"):
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise UnreadableError(f"{self.name} has a $ref that leads nowhere: {reference}")
        return found
