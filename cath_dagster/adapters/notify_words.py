"""Write text such that GOV.UK Notify, which renders Markdown in what fills a template, shows it as it stands.

Notify can do so itself (`sanitise_content_for`), but answers a list with HTTP 500, puts backslashes into subjects, which are
no Markdown, leaves line breaks, and takes out every link, those of ours included. So what Markdown would act upon is
replaced by what looks like it, in every text that is not `Ours`; in a whole mail of ours, line by line.
"""

import re
from typing import Any

from cath_dagster.core.untrusted_text import Ours, inert

# Links and images, escapes, and code; each has a double that means nothing.
_DOUBLES = str.maketrans({"[": "(", "]": ")", "\\": "＼", "`": "'", "<": "‹", ">": "›"})
# What begins a heading, a list, a quotation, a rule or a table. A mark without width before it makes it a word.
_BLOCK = re.compile(r"(?m)^[ \t]*(?=[#^*•=_~|+-]|\d+[.)])")
_MARK = "\u200e"


def fill(value: str | list[str]) -> Any:
    """Return what fills a place of a template: words of a user as words, what is `Ours` as it is."""
    if isinstance(value, list):
        return [fill(item) for item in value]
    return value if isinstance(value, Ours) else _plain(inert(value))


def body(text: str) -> str:
    """Return a whole mail of ours, in which the words of users are inert already, as the one place of its template."""
    return _plain(text)


def _plain(text: str) -> str:
    return _BLOCK.sub(_MARK, text.translate(_DOUBLES))
