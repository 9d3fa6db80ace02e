"""What every page asks for: who looks, and of a form that it came from a page of ours."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import FormData

from cath_dagster.web import sessions
from cath_dagster.web.api.dependencies import check_same_site, the_principal
from cath_dagster.web.pages.rendering import Visitor
from cath_dagster.web.problems import Problem, unusable
from cath_dagster.web.rights import Principal
from cath_dagster.web.sessions import FORM_COOKIE, FORM_FIELD
from cath_dagster.web.text import storable


def the_visitor(request: Request, principal: Annotated[Principal, Depends(the_principal)]) -> Visitor:
    cookie = request.cookies.get(FORM_COOKIE)
    return Visitor(principal=principal, cookie=cookie or sessions.new_form_cookie(), is_new=cookie is None)


async def the_fields(request: Request) -> FormData:
    """Return what a form sends; raise a `Problem` for what is no form."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise unusable("a form is expected")
    return await request.form(max_fields=200)


def a_form(
    request: Request,
    visitor: Annotated[Visitor, Depends(the_visitor)],
    fields: Annotated[FormData, Depends(the_fields)],
) -> dict[str, str]:
    """Return a form's fields; raise a `Problem` with 403 for one that no page of ours made for this person."""
    check_same_site(request)
    form = {name: str(value) for name, value in fields.items()}
    cookie = None if visitor.is_new else visitor.cookie
    if not sessions.is_form_token(form.pop(FORM_FIELD, ""), cookie, visitor.principal.actor):
        raise Problem(403, "not allowed", "this form is none of a page of ours, or too old; load the page again")
    try:
        return {storable(name): storable(value) for name, value in form.items()}
    except ValueError as error:
        raise unusable(str(error)) from None


TheVisitor = Annotated[Visitor, Depends(the_visitor)]
AForm = Annotated[dict[str, str], Depends(a_form)]
