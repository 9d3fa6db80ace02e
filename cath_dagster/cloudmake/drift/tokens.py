"""The source `tokens`: the newest version of the design tokens, and the tokens as they are."""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from cath_dagster.cloudmake.drift.comparison import Things, compare, digest
from cath_dagster.cloudmake.drift.source import Look, Source, Surroundings, UnreadableError, whole
from cath_dagster.cloudmake.tables import design_token_versions, design_tokens


def look(surroundings: Surroundings) -> Look:
    """Compare them by a hash of all there is of a token; a version's own hash knows only the outermost keys."""
    declared, real = surroundings.opened().transaction(_read)
    return whole("tokens", compare(declared, real), declared=len(declared))


def _read(connection: sa.Connection) -> tuple[Things, Things]:
    version, token = design_token_versions.c, design_tokens.c
    newest = sa.select(version.snapshot).order_by(version.version.desc(), version.created_at.desc()).limit(1)
    rows = connection.execute(sa.select(token.name, sa.cast(token.category, sa.Text), token.value))
    real = {f"token {name}": {"category": category, "value": digest(value)} for name, category, value in rows}
    return dict(_declared(connection.scalar(newest))), real


def _declared(snapshot: object) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the tokens of a snapshot: by name, each with its value or no more than that, or as a list of tokens."""
    if snapshot is None:
        return
    items = snapshot.items() if isinstance(snapshot, dict) else _named(snapshot)
    for name, token in items:
        told = token if isinstance(token, dict) and "value" in token else {"value": token}
        category = {"category": str(told["category"])} if "category" in told else {}
        yield f"token {name}", {"value": digest(told["value"]), **category}


def _named(snapshot: object) -> Iterator[tuple[str, Any]]:
    if not isinstance(snapshot, list) or not all(isinstance(each, dict) and "name" in each for each in snapshot):
        raise UnreadableError("the newest design_token_versions.snapshot is neither tokens by name nor a list of them")
    for each in snapshot:
        yield str(each["name"]), each


SOURCE = Source(name="tokens", look=look, needs_database=True, tables=(design_tokens.name, design_token_versions.name))
