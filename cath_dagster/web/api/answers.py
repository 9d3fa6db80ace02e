"""How answers are written: JSON straight from what was read, problems by their media type."""

import json
from datetime import UTC, datetime
from typing import Any

from fastapi import Response

from cath_dagster.web.problems import MEDIA_TYPE, Problem


def answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return what was read as JSON. It is not validated again: the suite holds every answer against the document."""
    return Response(_dump(value), status_code=status, headers=headers, media_type="application/json")


def problem_answer(problem: Problem) -> Response:
    return Response(
        _dump(problem.as_json()), status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


def _dump(value: Any) -> str:
    return json.dumps(value, default=_write, ensure_ascii=False, separators=(",", ":"))


def _write(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"no JSON for {type(value).__name__}")
