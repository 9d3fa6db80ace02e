"""How a developer's browser comes in: by the link with a one-time code that `make dev` prints."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from cath_dagster.web import sessions
from cath_dagster.web.api import schemas
from cath_dagster.web.api.dependencies import TheConsole, asking_of
from cath_dagster.web.problems import Problem
from cath_dagster.web.sessions import SESSION_COOKIE
from cath_dagster.web.settings import is_loopback

router = APIRouter(include_in_schema=False)


@router.get("/sign-in")
def sign_in(request: Request, console: TheConsole, code: Annotated[schemas.Text, Query(max_length=200)]) -> Response:
    """Set the session's cookie for a code that is right and was not used yet, on this machine alone."""
    asking = asking_of(request)
    cookie = None
    if is_loopback(asking.peer):
        with console.engine.begin() as connection:
            cookie = sessions.sign_in(
                connection,
                code,
                console.settings.sign_in_code,
                known=asking.session,
                now=console.clock(),
                origin=console.doorkeeper.origin(asking),
            )
    if cookie is None:
        raise Problem(401, "who are you", "the code is wrong or was used; `make dev` prints a new one when it starts")
    answer = RedirectResponse("/", status_code=303)
    # The machine's own address has no certificate, so that the cookie cannot ask for one.
    answer.set_cookie(
        SESSION_COOKIE, cookie, max_age=int(sessions.LASTS.total_seconds()), httponly=True, samesite="strict"
    )
    return answer
