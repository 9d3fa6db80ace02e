"""Tokens: made, listed and revoked by an admin of every location that they are for."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from cath_dagster.web import tokens
from cath_dagster.web.api import schemas
from cath_dagster.web.api.answers import answer
from cath_dagster.web.api.dependencies import TheConsole, ThePrincipal
from cath_dagster.web.console import Console
from cath_dagster.web.problems import not_found, unusable
from cath_dagster.web.rights import EVERYWHERE, Action, Principal

router = APIRouter(prefix="/tokens", tags=["tokens"])
SHOWN = tuple(schemas.Token.model_fields)


@router.get("", response_model=schemas.TokenList)
def list_tokens(
    console: TheConsole,
    principal: ThePrincipal,
    location: Annotated[schemas.Text | None, Query(max_length=100)] = None,
) -> Response:
    """List tokens, those that are revoked too, without what they are known by."""
    console.require(principal, Action.TOKEN, location or _some_location(principal))
    items = [row for row in managed(console, principal) if location in {None, *row["locations"]}]
    return answer({"items": items, "next_cursor": None})


def managed(console: Console, principal: Principal) -> list[dict[str, Any]]:
    """Return the tokens that somebody may make and revoke: those for locations whose admin he is."""
    with console.reader.connect() as connection:
        rows = tokens.read_tokens(connection)
    shown = [{name: getattr(row, name) for name in SHOWN} for row in rows]
    return [row for row in shown if all(principal.may(Action.TOKEN, location) for location in row["locations"])]


def _some_location(principal: Principal) -> str:
    """Return a location whose admin somebody is, else what is said to be lacking."""
    return next((location for location in principal.roles if principal.may(Action.TOKEN, location)), EVERYWHERE)


@router.post("", status_code=201, response_model=schemas.NewToken)
def create_token(console: TheConsole, principal: ThePrincipal, body: schemas.TokenRequest) -> Response:
    """Make a token. What is shown now is shown never again."""
    locations = body.locations or [EVERYWHERE]
    check_may_make(console, principal, locations)
    now = console.clock()
    expires_at = now + timedelta(days=body.expires_in_days) if body.expires_in_days is not None else None
    with console.engine.begin() as connection:
        made = tokens.create(
            connection, principal, body.name, role=body.role, locations=locations, expires_at=expires_at, now=now
        )
    return answer({"id": made.id, "name": made.name, "token": made.token}, status=201)


def check_may_make(console: Console, principal: Principal, locations: list[str]) -> None:
    """Raise a `Problem` for who may not make a token for these locations; a token makes none for more than itself."""
    if unknown := sorted(set(locations) - {EVERYWHERE, *console.locations}):
        raise unusable(f"there is no location {', '.join(unknown)}; there are {', '.join(console.locations)}")
    if EVERYWHERE in locations and len(set(locations)) > 1:
        raise unusable(f"{EVERYWHERE} is every location; name none besides")
    for location in locations:
        console.require(principal, Action.TOKEN, location)


@router.delete("/{name}", status_code=204)
def revoke_token(
    console: TheConsole, principal: ThePrincipal, name: Annotated[schemas.Text, Path(max_length=100)]
) -> Response:
    """Revoke a token: the next request with it is refused."""
    revoke(console, principal, name)
    return Response(status_code=204)


def revoke(console: Console, principal: Principal, name: str) -> None:
    """Revoke a token; raise a `Problem` for one that is not there, or not this person's to revoke."""
    if not principal.may_somewhere(Action.TOKEN):
        console.require(principal, Action.TOKEN, EVERYWHERE)
    with console.engine.begin() as connection:
        found = [row for row in tokens.read_tokens(connection) if row.name == name]
        if not found:
            raise not_found("there is no token of this name; GET /api/v1/tokens lists them")
        for location in found[0].locations:
            console.require(principal, Action.TOKEN, location)
        tokens.revoke(connection, principal, name, now=console.clock())
