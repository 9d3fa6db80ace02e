"""How answers are written: JSON straight from what was read, problems by their media type."""

from typing import Any

from fastapi import Response
from pydantic_core import to_json

from cath_dagster.web.problems import MEDIA_TYPE, Problem


def answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return what was read as JSON. It is not validated again: the suite holds every answer against the document."""
    return Response(to_json(value), status_code=status, headers=headers, media_type="application/json")


def problem_answer(problem: Problem) -> Response:
    return Response(
        to_json(problem.as_json()), status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )
