"""The baseline: what is known, by fingerprint and path, each with a reason; and what protects it."""

import json
from pathlib import Path
from typing import Any

import pytest

from cath_dagster.cloudmake.scan.baseline import FILE_NAME
from cath_dagster.cloudmake.scan.key import ScanKey, read_key
from cath_dagster.cloudmake.scan.request import What
from cath_dagster.core.errors import ConfigurationError
from tests.cloudmake.planted import Repository, github_token
from tests.cloudmake.scanning import KEY, KEY_TEXT, places, scan
from tests.support.command import Done, call

TOKEN = github_token()
OTHER = github_token(8)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.delenv("GIT_INDEX_FILE", raising=False)
    made = Repository.make(tmp_path / "repository")
    made.commit(**{"known": f"{TOKEN}\n", "folder/with space": f"first\n{OTHER}\n"})
    return made


def accept(repository: Repository, *arguments: str, key: str = KEY_TEXT) -> Done:
    return call({"CLOUDMAKE_SCAN_KEY": key}, "secrets", "baseline", str(repository.path), *arguments)


def rows(repository: Repository) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (repository.path / FILE_NAME).read_text().splitlines()]


def test_a_value_is_known_in_the_file_that_the_baseline_names_and_found_anywhere_else(repository: Repository) -> None:
    done = accept(repository, "--because", "rotated on 18 November")
    repository.commit(elsewhere=f"{TOKEN}\n", known=f"a line more\n{TOKEN}\n{OTHER}\n")

    report = scan(repository.path)

    assert done.stdout == f"{repository.path / FILE_NAME}: 2 lines added, 0 kept, 0 dropped\n"
    assert {(each.path, each.line) for each in report.found} == {("elsewhere", 1), ("known", 3)}
    assert {(each.path, each.reason) for each in report.known} == {
        ("known", "rotated on 18 November"),
        ("folder/with space", "rotated on 18 November"),
    }


def test_findings_are_taken_by_file_and_lines_keep_their_reasons_until_they_know_nothing(
    repository: Repository,
) -> None:
    accept(repository, "--because", "the first reason", "--only", "known")
    second = accept(repository, "--because", "the second")
    before = {row["path"]: row["reason"] for row in rows(repository)[1:]}
    repository.git("rm", "-q", "--cached", "known")
    repository.git("commit", "-q", "--amend", "-m", "without")
    repository.git("reflog", "expire", "--expire=now", "--all")
    noted = scan(repository.path).notes
    third = accept(repository, "--because", "not needed")

    assert second.stdout.endswith("1 lines added, 1 kept, 0 dropped\n")
    assert before == {"known": "the first reason", "folder/with space": "the second"}
    assert noted == ("1 lines of the baseline know nothing that is here",)
    assert third.stdout.endswith("0 lines added, 1 kept, 1 dropped\n")


def test_what_a_hook_would_refuse_is_taken_before_the_commit_and_no_line_goes(repository: Repository) -> None:
    accept(repository, "--because", "rotated")
    repository.write("new", f"{TOKEN}\n")
    repository.git("add", "new", FILE_NAME)
    before = scan(repository.path, what=What.STAGED)

    done = accept(repository, "--because", "a test's value", "--staged")

    assert [each.path for each in before.found] == ["new"]
    assert done.stdout.endswith("1 lines added, 2 kept, 0 dropped\n")
    assert scan(repository.path, what=What.STAGED).is_clean
    assert [each.path for each in scan(repository.path / "new").known] == ["new"]


def test_the_baseline_shows_nothing_of_a_value_and_cannot_be_tried_out_without_the_key(repository: Repository) -> None:
    accept(repository, "--because", "rotated")

    text = (repository.path / FILE_NAME).read_text()
    fingerprints = {row["fingerprint"] for row in rows(repository)[1:]}

    assert TOKEN[:8] not in text
    assert KEY_TEXT not in text
    assert fingerprints == {KEY.fingerprint(TOKEN), KEY.fingerprint(OTHER)}
    assert fingerprints.isdisjoint({ScanKey("another key " * 4, is_lasting=True).fingerprint(TOKEN)})


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (
            "another key, as long as the tests' own",
            "the baseline was made under another key than that of CLOUDMAKE_SCAN_KEY",
        ),
        ("", "CLOUDMAKE_SCAN_KEY is not set, so that nothing in the baseline is known"),
    ],
)
def test_under_another_key_and_without_one_nothing_is_known_and_that_is_said(
    repository: Repository, key: str, says: str
) -> None:
    accept(repository, "--because", "rotated")

    report = scan(repository.path, key=read_key({"CLOUDMAKE_SCAN_KEY": key}))

    assert len(report.found) == 2
    assert says in report.notes
    assert accept(repository, "--because", "again", key=key).returncode == 2


def test_a_baseline_of_made_up_values_needs_no_key_and_its_own_is_in_no_report(repository: Repository) -> None:
    done = accept(repository, "--because", "values of tests", "--made-up", key="")
    repository.commit(elsewhere=f"{TOKEN}\n")

    report = scan(repository.path, key=read_key({}))
    public = ScanKey(rows(repository)[0]["key"], is_lasting=True)

    assert done.returncode == 0
    assert set(places(report)) == {"elsewhere"}
    assert len(report.known) == 2
    assert places(report)["elsewhere"].fingerprint != public.fingerprint(TOKEN)


def test_no_baseline_is_written_without_a_key_or_a_reason_or_over_one_of_another_kind(repository: Repository) -> None:
    without_key = accept(repository, "--because", "rotated", key="")
    without_reason = accept(repository, "--because", "  ")
    assert not (repository.path / FILE_NAME).exists()
    accept(repository, "--because", "rotated")
    other_kind = accept(repository, "--because", "rotated", "--made-up")

    assert (without_key.returncode, without_reason.returncode, other_kind.returncode) == (2, 2, 2)
    assert "openssl rand -hex 32" in without_key.stderr
    assert "has a reason" in without_reason.stderr
    assert "under a key already; leave --made-up out" in other_kind.stderr


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "does not begin with"),
        ('{"baseline": 2}', "does not begin with"),
        ("no JSON", "cannot be read"),
        ('{"baseline": 1}\n{"fingerprint": "f", "rule": "r", "path": "p", "reason": " "}', "line 2 .* has no reason"),
        ('{"baseline": 1}\n{"fingerprint": "f", "rule": "r", "path": "p"}', "line 2 .* is none"),
        ('{"baseline": 1}\n["f"]', "line 2 .* is none"),
    ],
)
def test_a_baseline_that_is_none_is_refused_with_the_line(repository: Repository, lines: str, says: str) -> None:
    repository.write(FILE_NAME, f"{lines}\n")

    with pytest.raises(ConfigurationError, match=says):
        scan(repository.path)


def test_a_baseline_that_is_named_and_not_there_is_refused(repository: Repository) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        scan(repository.path, baseline=repository.path / "nowhere")


def test_a_key_that_can_be_guessed_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match=r"has 8 characters, 32 random ones") as error:
        read_key({"CLOUDMAKE_SCAN_KEY": "guess-me"})

    assert "guess-me" not in str(error.value)
    assert KEY_TEXT not in repr(KEY)
