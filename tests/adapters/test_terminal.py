"""What the command line prints obeys no control character of what it is given."""

import io

import pytest
from rich.table import Table

from cath_dagster.adapters.terminal import Terminal

WORDS = "file\x1b(2J\x1b)0;title\x07.pdf"


@pytest.mark.parametrize("markup", [True, False])
def test_words_of_others_do_not_control_the_terminal(markup: bool) -> None:
    shown = io.StringIO()
    table = Table()
    table.add_column("path")
    table.add_row(WORDS)

    console = Terminal(file=shown, width=80)
    console.print(WORDS, markup=markup)
    console.print(table)

    assert "\x1b" not in shown.getvalue()
    assert "\x07" not in shown.getvalue()
    assert shown.getvalue().count(".pdf") == 2
