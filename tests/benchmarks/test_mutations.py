"""Every mutant can be made of today's code, its tests are there, and one that survives is told as that."""

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from benchmarks.mutations import __main__ as command
from benchmarks.mutations.account import as_markdown, as_records
from benchmarks.mutations.mutant import Mutant, TextNotFoundError
from benchmarks.mutations.table import MUTANTS
from benchmarks.mutations.tree import Tree, copy_of
from benchmarks.mutations.trial import Results, Verdict, judge_all, run_nodes
from cath_dagster.development.local import REPOSITORY
from cath_dagster.registry import locations

RULE = "def is_old(days: int) -> bool:\n    return days > 90\n"
TESTS = "from rule import is_old\n\n\ndef test_keeps():\n    assert not is_old(90)\n\n\ndef test_takes():\n    assert is_old(91)\n"
NOTICED = Mutant(
    name="cutoff",
    path="rule.py",
    text="days > 90",
    becomes="days >= 90",
    loses="A row goes a day early.",
    noticed_by=("test_rule.py::test_keeps",),
)
SURVIVES = Mutant(
    name="nothing-goes",
    path="rule.py",
    text="days > 90",
    becomes="days > 91",
    loses="A row stays a day too long.",
    noticed_by=("test_rule.py::test_keeps",),
)
GONE = Mutant(name="gone", path="rule.py", text="days > 30", becomes="", loses="", noticed_by=SURVIVES.noticed_by)


@cache
def source_of(path: str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the tests of a file that the command runs: none that is marked as one of a stack."""
    tests = [each for each in ast.parse(source_of(path)).body if isinstance(each, ast.FunctionDef)]
    return frozenset(each.name for each in tests if "stack" not in " ".join(map(ast.unparse, each.decorator_list)))


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    for name, text in {"rule.py": RULE, "test_rule.py": TESTS}.items():
        (tmp_path / name).write_text(text)
    with copy_of(tmp_path) as copy:
        yield copy


def test_every_mutant_can_be_made_of_todays_code_and_its_tests_are_there() -> None:
    for mutant in MUTANTS:
        changed = mutant.change(source_of(mutant.path))
        compile(changed, mutant.path, "exec")
        assert changed != source_of(mutant.path), mutant.name
        for node in mutant.noticed_by:
            path, _, test = node.partition("::")
            assert test in names_in(path), f"{mutant.name}: {node} is not there"


def test_mutants_have_names_of_their_own_and_there_are_some_of_every_location_and_of_core() -> None:
    packages = {mutant.path.split("/")[1] for mutant in MUTANTS}
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {"core", *(location.name for location in locations())} <= packages


@pytest.mark.stack
def test_tells_a_survivor_from_one_that_is_noticed_and_leaves_the_tree_as_it_was(tree: Tree) -> None:
    judged = list(judge_all(tree, [NOTICED, SURVIVES, GONE], run_nodes))

    assert [each.verdict for each in judged] == [Verdict.NOTICED, Verdict.SURVIVED, Verdict.NOT_FOUND]
    assert (judged[0].noticed_by, judged[1].not_by) == (NOTICED.noticed_by, SURVIVES.noticed_by)
    assert [each.is_fault for each in judged] == [False, True, True]
    assert tree.read("rule.py") == RULE
    assert "Of 3 mutants 2 are not noticed." in as_markdown(judged)
    assert as_records(judged)[1]["verdict"] == "survived"


def test_one_of_several_tests_that_does_not_notice_lets_its_mutant_survive(tree: Tree) -> None:
    both = Mutant(**{**vars(NOTICED), "noticed_by": ("test_rule.py::test_keeps", "test_rule.py::test_takes")})

    def run(_: Tree, nodes: Sequence[str]) -> Results:
        is_changed = tree.read("rule.py") != RULE
        return Results({node: is_changed and node.endswith("keeps") for node in nodes})

    (judged,) = judge_all(tree, [both], run)

    assert (judged.verdict, judged.not_by) == (Verdict.SURVIVED, ("test_rule.py::test_takes",))


def test_tests_that_fail_anyway_prove_nothing(tree: Tree) -> None:
    (judged,) = judge_all(tree, [NOTICED], lambda _, nodes: Results(dict.fromkeys(nodes, True)))

    assert (judged.verdict, judged.is_fault) == (Verdict.UNSOUND, True)


def test_a_mutant_by_which_no_test_can_be_run_proves_nothing(tree: Tree) -> None:
    def run(_: Tree, nodes: Sequence[str]) -> Results:
        is_changed = tree.read("rule.py") != RULE
        return Results({} if is_changed else dict.fromkeys(nodes, False), "no module named rule")

    (judged,) = judge_all(tree, [NOTICED], run)

    assert (judged.verdict, judged.is_fault, judged.why) == (Verdict.BROKEN, True, "no module named rule")


def test_a_text_that_is_there_twice_is_no_mutant() -> None:
    with pytest.raises(TextNotFoundError, match=r"rule\.py has its text 2 times"):
        NOTICED.change(RULE + RULE)


@pytest.mark.parametrize(("mutant", "code"), [(NOTICED, 0), (SURVIVES, 1), (GONE, 1)])
def test_the_command_ends_with_1_where_one_survives_or_is_not_found(
    mutant: Mutant, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(tree: Tree, nodes: Sequence[str]) -> Results:
        return Results(dict.fromkeys(nodes, ">= 90" in tree.read("rule.py")))

    (tmp_path / "rule.py").write_text(RULE)
    monkeypatch.setattr(command, "REPOSITORY", tmp_path)
    monkeypatch.setattr(command, "MUTANTS", (mutant,))
    monkeypatch.setattr(command, "run_nodes", run)

    assert command.main(["--only", mutant.name, "--json"]) == code
    assert f'"mutant": "{mutant.name}"' in capsys.readouterr().out
