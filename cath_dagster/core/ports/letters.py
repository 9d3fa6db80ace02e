"""Write mails from templates, so that no value in one can be a link, a line or markup of its own."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from cath_dagster.core.untrusted_text import inert

if TYPE_CHECKING:
    # A run that writes no mail loads no templates.
    from jinja2 import Environment


def write(package: str, template: str, values: Mapping[str, object]) -> str:
    """Return a template of a package, filled in; what should stay a link is `Ours`."""
    return _templates(package).get_template(template).render(values)


@cache
def _templates(package: str) -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )


def _finalize(value: object) -> object:
    return inert(value) if isinstance(value, str) else value
