"""Run the tests that must notice a mutant, once without it and once with it, and judge what came of them."""

import enum
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from benchmarks.mutations.mutant import Mutant, TextNotFoundError
from benchmarks.mutations.tree import Tree

TEST_SECONDS = 120
"""A lost lock may let a test wait for ever: that is noticed as well."""
SHOWN = 1_500
"""Characters of what pytest printed last."""


class Verdict(enum.StrEnum):
    """What came of a mutant."""

    NOTICED = "noticed"
    SURVIVED = "survived"
    NOT_FOUND = "text not found"
    UNSOUND = "its tests fail without it"
    BROKEN = "its tests cannot be run"


@dataclass(frozen=True)
class Results:
    """How tests ended, by node: whether each failed."""

    failed: dict[str, bool]
    said: str = field(default="", repr=False)
    """What pytest printed, for whoever asks why nothing ran."""

    def has(self, node: str) -> bool:
        """Return whether any test of the node ran."""
        return bool(self._of(node))

    def fails(self, node: str) -> bool:
        """Return whether any test of the node failed."""
        return any(self._of(node))

    def _of(self, node: str) -> list[bool]:
        return [failed for name, failed in self.failed.items() if name == node or name.startswith(f"{node}[")]


Run = Callable[[Tree, Sequence[str]], Results]


@dataclass(frozen=True)
class Judgement:
    """What one mutant came to; `noticed_by` are the nodes that failed by it, `seconds` what it took."""

    mutant: Mutant
    verdict: Verdict
    noticed_by: tuple[str, ...] = ()
    not_by: tuple[str, ...] = ()
    seconds: float = 0.0
    why: str = ""

    @property
    def is_fault(self) -> bool:
        return self.verdict is not Verdict.NOTICED


def judge_all(tree: Tree, mutants: Sequence[Mutant], run: Run) -> Iterator[Judgement]:
    """Yield what each mutant comes to; all tests are run once without any, to see them pass."""
    nodes = list(dict.fromkeys(node for mutant in mutants for node in mutant.noticed_by))
    before = run(tree, nodes)
    for mutant in mutants:
        yield _judge(tree, mutant, before, run)


def _judge(tree: Tree, mutant: Mutant, before: Results, run: Run) -> Judgement:
    missing = [node for node in mutant.noticed_by if not before.has(node)]
    if missing:
        return Judgement(mutant, Verdict.BROKEN, why=f"{', '.join(missing)} did not run. {before.said[-SHOWN:]}")
    failing = tuple(node for node in mutant.noticed_by if before.fails(node))
    if failing:
        return Judgement(mutant, Verdict.UNSOUND, why=", ".join(failing))
    started = time.monotonic()
    try:
        with tree.changed(mutant):
            after = run(tree, mutant.noticed_by)
    except TextNotFoundError as error:
        return Judgement(mutant, Verdict.NOT_FOUND, why=str(error))
    seconds = time.monotonic() - started
    if not all(map(after.has, mutant.noticed_by)):
        return Judgement(mutant, Verdict.BROKEN, seconds=seconds, why=after.said[-SHOWN:])
    by = tuple(node for node in mutant.noticed_by if after.fails(node))
    not_by = tuple(node for node in mutant.noticed_by if not after.fails(node))
    # Of several tests each must notice: one that does not promises what it does not hold.
    return Judgement(mutant, Verdict.SURVIVED if not_by else Verdict.NOTICED, by, not_by, seconds)


def run_nodes(tree: Tree, nodes: Sequence[str]) -> Results:
    """Run tests of a tree in a process of their own, which imports that tree and no other; those of stacks are left out."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        asked = ["-q", "-n", "0", "-p", "no:randomly", "-m", "not stack", f"--timeout={TEST_SECONDS}", "--tb=line"]
        environ = {**os.environ, "PYTHONPATH": str(tree.folder)}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *asked, f"--junitxml={report}", *nodes],
            cwd=tree.folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return Results(_read(report) if report.exists() else {}, done.stdout + done.stderr)


def _read(report: Path) -> dict[str, bool]:
    failed: dict[str, bool] = {}
    for case in ET.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            node = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
            is_failed = case.find("failure") is not None or case.find("error") is not None
            failed[node] = failed.get(node, False) or is_failed
    return failed
