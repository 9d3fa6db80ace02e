"""Tell what came of the mutants: for a terminal, as JSON, and as the page of the documentation."""

from collections.abc import Sequence

from rich.table import Table

from benchmarks.mutations.trial import Judgement

HEADS = ("mutant", "what would be lost", "noticed by", "seconds")
INTRODUCTION = """\
# What the suite notices

`python -m benchmarks.mutations` breaks destructive paths one at a time in a copy of the tree: a predicate that is not asked again in
the DELETE, a lock that is lost, a file that is deleted before its row's commit. For each it runs the few tests that must notice,
first without the change, to see them pass, and then with it. A mutant that one of its tests lets pass has *survived*: then the
command ends with exit code 1, and there is a hole in the suite.

The mutants are in `benchmarks/mutations/`, each with its file, the exact text, what that becomes, what would be lost, and its tests. CI
holds that every text and every test are there; it runs no mutant.

<!-- The table is written by python -m benchmarks.mutations --publish -->

"""


def as_table(judged: Sequence[Judgement]) -> Table:
    """Return a table for a terminal."""
    table = Table("mutant", "verdict", "noticed by")
    table.add_column("seconds", justify="right")
    for each in judged:
        told = "\n".join([*map(_short, each.noticed_by), *(f"not by {_short(node)}" for node in each.not_by)])
        table.add_row(each.mutant.name, each.verdict.value, told or each.why, f"{each.seconds:.0f}")
    return table


def as_records(judged: Sequence[Judgement]) -> list[dict[str, object]]:
    """Return what `--json` prints."""
    return [
        {
            "mutant": each.mutant.name,
            "path": each.mutant.path,
            "loses": each.mutant.loses,
            "verdict": each.verdict.value,
            "noticed_by": each.noticed_by,
            "not_by": each.not_by,
            "why": each.why,
            "seconds": round(each.seconds, 1),
        }
        for each in judged
    ]


def as_markdown(judged: Sequence[Judgement]) -> str:
    """Return the page of the documentation."""
    lines: list[Sequence[str]] = [HEADS, ("---", "---", "---", "--:")]
    for each in judged:
        told = "<br>".join(f"`{_short(node)}`" for node in each.noticed_by)
        lines.append((each.mutant.name, each.mutant.loses, told or f"**{each.verdict}**", f"{each.seconds:.0f}"))
    faults = sum(each.is_fault for each in judged)
    says = "every one is noticed" if not faults else f"{faults} are not noticed"
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{INTRODUCTION}{table}\n\nOf {len(judged)} mutants {says}.\n"


def _short(node: str) -> str:
    return node.partition("::")[2]
