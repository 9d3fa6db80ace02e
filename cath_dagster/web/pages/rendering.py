"""How pages are written: templates, times with their zones, bars of the last runs, and what a form must bring along."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cath_dagster.core.history.tables import STATUSES
from cath_dagster.web import sessions
from cath_dagster.web.console import Console
from cath_dagster.web.problems import Problem
from cath_dagster.web.rights import Action, Kind, Principal
from cath_dagster.web.sessions import FORM_COOKIE, FORM_FIELD

LONGEST_NUMBER = 18
"""Digits that fit into what a database counts with."""
BAR_WIDTH, BAR_HEIGHT, LOWEST_BAR = 5, 24, 3


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Who looks at a page, and by what his forms are known to come from it."""

    principal: Principal
    cookie: str
    is_new: bool

    @property
    def form_token(self) -> str:
        return sessions.form_token(self.cookie, self.principal.actor)


@cache
def environment() -> Environment:
    """Return the templates; every value in them is escaped."""
    found = Environment(
        loader=PackageLoader("cath_dagster.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "at": show_instant, "lasting": show_duration, "bars": show_bars, "since": show_since, "part": quote_part,
    }  # fmt: skip
    return found


def render(request: Request, visitor: Visitor, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page; a visitor's first one brings the cookie that his forms need."""
    console: Console = request.app.state.console
    text = environment().get_template(template).render(
        me=visitor.principal,
        may=visitor.principal.may,
        may_somewhere=visitor.principal.may_somewhere,
        Action=Action,
        is_person=visitor.principal.kind is not Kind.TOKEN,
        form_field=FORM_FIELD,
        form_token=visitor.form_token,
        is_scheduling=console.settings.is_scheduling,
        ui_url=console.settings.ui_url.rstrip("/"),
        now=console.clock(),
        path=request.url.path,
        **values,
    )  # fmt: skip
    answer = HTMLResponse(text, status_code=status)
    if visitor.is_new:
        is_secure = request.url.scheme == "https" or _proxy_says_https(console, request)
        answer.set_cookie(FORM_COOKIE, visitor.cookie, httponly=True, samesite="strict", secure=is_secure)
    return answer


def _proxy_says_https(console: Console, request: Request) -> bool:
    peer = request.client.host if request.client else None
    return console.settings.trusts(peer) and request.headers.get("x-forwarded-proto") == "https"


def quote_part(text: str) -> str:
    """Return a text as one part of an address."""
    return quote(text, safe="")


def show_instant(at: datetime | None, zone: str | None = None) -> Markup:
    """Return an instant in a zone, by default UTC; a script adds the reader's own."""
    if at is None:
        return Markup("–")
    there = at.astimezone(ZoneInfo(zone) if zone else UTC)
    shown = f"{there:%Y-%m-%d %H:%M} {there.tzname()}"
    return Markup('<time datetime="{}">{}</time>').format(at.astimezone(UTC).isoformat(timespec="seconds"), shown)


def show_duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "–"
    lasted = timedelta(milliseconds=milliseconds)
    if lasted < timedelta(seconds=1):
        return f"{milliseconds} ms"
    return f"{lasted.total_seconds():.1f} s" if lasted < timedelta(minutes=1) else str(lasted).partition(".")[0]


def show_since(at: datetime, now: datetime) -> str:
    """Return in words how long ago something was."""
    seconds = max(0, int((now - at).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def show_bars(runs: Sequence[Any], label: str = "Last runs") -> Markup:
    """Return runs as bars, the newest on the right: the colour is how each ended, the height how long it took."""
    if not runs:
        return Markup("–")
    longest = max((run.duration_ms or 0 for run in runs), default=0) or 1
    counted = Counter(run.status for run in runs)
    says = ", ".join(f"{count} {status}" for status, count in sorted(counted.items()))
    # Written without the templates' care for every part: numbers, and words that the history's own constraint allows.
    rects = "".join(
        _bar(place, run.status, LOWEST_BAR + round((BAR_HEIGHT - LOWEST_BAR) * (run.duration_ms or 0) / longest))
        for place, run in enumerate(reversed(runs))
    )
    size = f'width="{BAR_WIDTH * len(runs)}" height="{BAR_HEIGHT}" viewBox="0 0 {BAR_WIDTH * len(runs)} {BAR_HEIGHT}"'
    return Markup('<svg class="bars" role="img" aria-label="{}: {}" ').format(label, says) + Markup(  # noqa: S704
        f"{size}>{rects}</svg>"
    )


@lru_cache(maxsize=8_192)
def _bar(place: int, status: str, height: int) -> str:
    """Return one bar: of so many places, statuses and whole pixels there are few, and a page has thousands of them."""
    known = status if status in STATUSES else ""
    top = BAR_HEIGHT - height
    return f'<rect class="{known}" x="{place * BAR_WIDTH}" y="{top}" width="{BAR_WIDTH - 1}" height="{height}"/>'


def show_plot(values: Sequence[float], label: str, unit: str) -> Markup:
    """Return numbers as bars with what the greatest is, the newest on the right."""
    greatest = max(values, default=0) or 1
    step, height = 14, 80
    rects = Markup("").join(
        Markup(
            '<rect class="plotted" x="{}" y="{:.1f}" width="{}" height="{:.1f}"><title>{:g} {}</title></rect>'
        ).format(
            place * step,
            height - max(1, height * value / greatest),
            step - 2,
            max(1, height * value / greatest),
            value,
            unit,
        )
        for place, value in enumerate(values)
    )
    says = f"{label}: {len(values)} runs, at most {max(values, default=0):g} {unit}"
    size = Markup('width="{0}" height="{1}" viewBox="0 0 {0} {1}"').format(step * max(len(values), 1), height)
    return Markup('<svg class="plot" role="img" aria-label="{}" {}>{}</svg>').format(says, size, rects)


def fields_of(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a form's fields from the JSON Schema of a job's parameters."""
    return [_field(name, each, schema.get("$defs", {})) for name, each in schema.get("properties", {}).items()]


def _field(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    parts = schema.get("anyOf", [schema])
    found = [definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else part for part in parts]
    kinds = {str(part.get("type")) for part in found}
    choices: list[Any] = next((part["enum"] for part in found if "enum" in part), [])
    kind = "choice" if choices else next((each for each in ("boolean", "integer") if each in kinds), "string")
    default = schema.get("default")
    return {
        "name": name, "kind": kind, "choices": choices, "says": schema.get("description", ""),
        "default": "" if default is None else str(default).lower() if isinstance(default, bool) else str(default),
    }  # fmt: skip


def parameters_of(form: Mapping[str, Any], fields: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a form says of parameters; what is left empty is the default."""
    found: dict[str, Any] = {}
    for field in fields:
        value = str(form.get(f"p.{field['name']}") or "").strip()
        if value:
            found[field["name"]] = _typed(field["kind"], value)
    return found


def _typed(kind: str, value: str) -> Any:
    if kind == "boolean":
        return value == "true"
    is_number = kind == "integer" and value.lstrip("-").isdigit() and len(value) <= LONGEST_NUMBER
    # What is no number goes on as it is, and is refused by name.
    return int(value) if is_number else value


def render_problem(problem: Problem) -> HTMLResponse:
    """Return what a person sees where something cannot be done; it needs nothing that may be away itself."""
    text = environment().get_template("problem.html").render(problem=problem)
    return HTMLResponse(text, status_code=problem.status, headers=problem.headers)
