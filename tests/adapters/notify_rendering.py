"""How GOV.UK Notify makes HTML of a mail's text: mistune below 1, with its own marks and without emphasis and code."""

import html
import re
import warnings

with warnings.catch_warnings():
    # Written for Pythons that did not mind an unknown escape.
    warnings.simplefilter("ignore")
    import mistune

BULLET = r"(?:[•*-]|\d+\.)"
NOT_RENDERED = {"emphasis", "double_emphasis", "strikethrough", "code"}


class _Blocks(mistune.BlockGrammar):  # type: ignore[misc]  # the library has no types
    """A caret begins a quotation, and a dot may be a list's mark."""

    block_quote = re.compile(r"^( *\^[^\n]+(?:\n[^\n]+)*\n*)+")
    list_block = re.compile(rf"^( *)({BULLET})[\s\S]+?(?:\n{{2,}}(?! )(?!\1{BULLET} )\n*|\s*$)")
    list_item = re.compile(rf"^(( *){BULLET}[^\n]*(?:\n(?!\2{BULLET})[^\n]*)*)", flags=re.MULTILINE)
    list_bullet = re.compile(rf"^ *{BULLET}")


class _Spans(mistune.InlineLexer):  # type: ignore[misc]
    default_rules = [rule for rule in mistune.InlineLexer.default_rules if rule not in NOT_RENDERED]  # noqa: RUF012


def render(template: str, **values: str | list[str]) -> str:
    """Return the HTML of a template's text in which ((name)) stands for a value, that of a list a line each."""
    text = template
    for name, value in values.items():
        filled = "\n\n" + "\n".join(f"* {item}" for item in value) if isinstance(value, list) else value
        text = text.replace(f"(({name}))", filled)
    renderer = mistune.Renderer(hard_wrap=True)
    markdown = mistune.Markdown(renderer=renderer, inline=_Spans(renderer), block=mistune.BlockLexer(_Blocks()))
    return str(markdown(html.escape(text, quote=False) + "\n"))


def visible(rendered: str) -> str:
    """Return what a reader sees of it, lines and paragraphs apart from each other by a line's end."""
    return html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"\s*<br>\s*|</p>\s*|</li>\s*", "\n", rendered))).strip()
