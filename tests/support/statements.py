"""One compiled form of a statement for all engines of a process: each run opens an engine, and would compile all anew."""

import functools
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.util import LRUCache

OURS = "postgresql+psycopg://"
ENOUGH = 1_000
"""Statements; all that the jobs of all locations say are fewer."""


def share_compiled(patch: pytest.MonkeyPatch) -> None:
    """Let the engines that are made from now on look where the others have put what they compiled.

    A statement is found there by its structure and its dialect; ours are alike, on every server that we know.
    """
    shared: LRUCache[Any, Any] = LRUCache(ENOUGH)
    create = sa.create_engine

    @functools.wraps(create)
    def create_sharing(url: Any, **options: Any) -> sa.Engine:
        if url == OURS:
            options = {
                **options,
                "execution_options": {"compiled_cache": shared, **options.get("execution_options", {})},
            }
        return create(url, **options)

    patch.setattr(PGDialect_psycopg, "__hash__", lambda self: hash(type(self)))
    patch.setattr(PGDialect_psycopg, "__eq__", lambda self, other: type(self) is type(other))
    patch.setattr(sa, "create_engine", create_sharing)
