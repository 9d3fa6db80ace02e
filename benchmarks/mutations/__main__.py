"""Break the code and print which test notices: `python -m benchmarks.mutations`."""

import argparse
import json
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from benchmarks.mutations.account import as_markdown, as_records, as_table
from benchmarks.mutations.table import MUTANTS
from benchmarks.mutations.tree import copy_of
from benchmarks.mutations.trial import judge_all, run_nodes
from cath_dagster.development.local import REPOSITORY

PAGE = REPOSITORY / "docs/mutations.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the mutants, print the table, and return 1 if one survives or cannot be judged."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutations", description=__doc__)
    names = [mutant.name for mutant in MUTANTS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="this one; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the names and what each would lose, and run nothing")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--publish", action="store_true", help="write docs/mutations.md")
    given = parser.parse_args(arguments)
    if given.publish and given.only:
        parser.error("--publish writes of all mutants; leave --only out")
    chosen = [mutant for mutant in MUTANTS if given.only is None or mutant.name in given.only]
    out, progress = Console(highlight=False), Console(highlight=False, stderr=True)
    if given.list:
        for mutant in chosen:
            out.print(f"{mutant.name}: {mutant.loses}", soft_wrap=True)
        return 0
    started = time.monotonic()
    with copy_of(REPOSITORY) as tree:
        progress.print("running the tests without any mutant")
        judged = []
        for judgement in judge_all(tree, chosen, run_nodes):
            progress.print(f"{judgement.mutant.name}: {judgement.verdict} in {judgement.seconds:.0f} s", soft_wrap=True)
            judged.append(judgement)
    if given.json:
        sys.stdout.write(json.dumps(as_records(judged), indent=2) + "\n")
    else:
        out.print(as_table(judged))
    progress.print(f"{(time.monotonic() - started) / 60:.0f} minutes")
    if given.publish:
        PAGE.write_text(as_markdown(judged), encoding="utf-8")
    return 1 if any(judgement.is_fault for judgement in judged) else 0


if __name__ == "__main__":
    sys.exit(main())
