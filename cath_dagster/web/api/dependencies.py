"""What every endpoint asks for: the console, who is there, and that a browser was not sent here by another site."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Query, Request

from cath_dagster.web.console import Console
from cath_dagster.web.identity import Asking
from cath_dagster.web.problems import Problem
from cath_dagster.web.rights import Kind, Principal
from cath_dagster.web.sessions import SESSION_COOKIE

DEFAULT_LIMIT, MAX_LIMIT = 100, 500


# What waits for nothing is `async`: all else is handed to a thread, which takes longer than to do it.
async def the_console(request: Request) -> Console:
    return console_of(request)


def console_of(request: Request) -> Console:
    console: Console = request.app.state.console
    return console


def asking_of(request: Request) -> Asking:
    """Return what a request says of who sends it."""
    return Asking(
        peer=request.client.host if request.client else None,
        header=request.headers.getlist,
        session=request.cookies.get(SESSION_COOKIE),
    )


def the_principal(request: Request) -> Principal:
    """Return who sends a request; raise a `Problem` with 401, with 403 for a change that another site sends."""
    principal = console_of(request).doorkeeper.identify(asking_of(request))
    if request.method not in {"GET", "HEAD", "OPTIONS"} and principal.kind is not Kind.TOKEN:
        check_same_site(request)
    return principal


def check_same_site(request: Request) -> None:
    """Raise a `Problem` with 403 for a request that a browser sends for another site: its cookies, or the proxy's, go along.

    What is no browser says nothing of the kind, and has no cookies that somebody else could use.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site not in {"same-origin", "none"}:
            raise _from_elsewhere()
        return
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise _from_elsewhere()


def _from_elsewhere() -> Problem:
    return Problem(403, "not allowed", "this change was sent by a page of another site")


async def a_limit(limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT) -> int:
    return limit


TheConsole = Annotated[Console, Depends(the_console)]
ThePrincipal = Annotated[Principal, Depends(the_principal)]
Limit = Annotated[int, Depends(a_limit)]
Anything = dict[str, Any]
