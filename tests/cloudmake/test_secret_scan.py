"""secret_scan, the job and the commands: what a finding does to a run, and that nothing of a value leaves it."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cloudmake import assets
from cath_dagster.cloudmake.jobs.secret_scan import ASSET, NO_SECRET_FOUND, SPEC, findings_as_text
from cath_dagster.cloudmake.scan.request import What
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.run.execution import execute
from cath_dagster.development.local import REPOSITORY
from cath_dagster.orchestration.jobs import build_asset_job
from cath_dagster.orchestration.measured import build_measured_assets
from tests.cloudmake.planted import Repository, github_token
from tests.cloudmake.scanning import KEY_TEXT, scan
from tests.support.command import call
from tests.support.maintained import SilentReporter, outcome

TOKEN = github_token()


@dataclass
class Scanned:
    """A repository, the variables of its scans, and what a run says."""

    repository: Repository
    environ: dict[str, str]
    reporter: SilentReporter = field(default_factory=SilentReporter)

    def run(self, *, is_scheduled: bool = False, **config: Any) -> RunResult:
        now = datetime(2026, 11, 18, 4, 30, tzinfo=UTC)
        return execute(
            SPEC,
            config,
            run_id="run-1",
            now=now,
            backends=EnvironmentBackends("CLOUDMAKE", self.environ),
            reporter=self.reporter,
            is_scheduled=is_scheduled,
        )


@pytest.fixture
def scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scanned:
    monkeypatch.delenv("GIT_INDEX_FILE", raising=False)
    repository = Repository.make(tmp_path / "repository")
    repository.commit(file="nothing\n")
    environ = {"CLOUDMAKE_SCAN_PATH": str(repository.path), "CLOUDMAKE_SCAN_KEY": KEY_TEXT}
    return Scanned(repository, environ)


def test_a_clean_repository_passes_the_check(scanned: Scanned) -> None:
    result = scanned.run(is_scheduled=True)

    (check,) = result.checks
    details = outcome(result, ASSET).details
    assert (result.status, check.passed, check.message) == (Status.SUCCESS, True, "no secret found")
    assert (details["found"], details["known"], details["files"], details["commits"]) == (0, 0, 1, 1)


def test_a_finding_fails_the_check_and_with_the_gate_the_run(scanned: Scanned) -> None:
    commit = scanned.repository.commit(**{"folder/secret": f"first\n{TOKEN}\n"})

    result, gated = scanned.run(), scanned.run(gate=True)

    (check,) = result.checks
    assert (result.status, gated.status) == (Status.SUCCESS, Status.FAILED)
    assert (check.passed, check.severity, check.details["found"]) == (False, "error", 1)
    assert "1 secrets found (1 in the newest tree, 0 in the history alone); rotate them first" in check.message
    findings = outcome(result, ASSET).details["findings"]
    assert isinstance(findings, list)
    assert findings_as_text(result, verbose=False) == findings
    assert findings[0].startswith(f"betterleaks.github-pat  folder/secret:2  {commit[:12]}  ")


def test_what_could_not_be_read_fails_the_run_whatever_the_gate_says(scanned: Scanned) -> None:
    scanned.repository.commit(large="a" * 1_100_000)

    result = scanned.run(max_file_mb=1, gate=False)

    assert (result.status, result.checks[0].passed) == (Status.FAILED, False)
    assert "larger than the limit" in str(result.error)


def test_a_tick_without_a_repository_succeeds_with_that_reason_and_a_run_by_hand_fails(scanned: Scanned) -> None:
    del scanned.environ["CLOUDMAKE_SCAN_PATH"]

    tick, by_hand = scanned.run(is_scheduled=True), scanned.run()

    assert (tick.status, tick.outcomes, tick.checks) == (Status.SUCCESS, (), ())
    assert tick.notes == ("CLOUDMAKE_SCAN_PATH is not set: there is no repository to scan here",)
    assert (by_hand.status, by_hand.error) == (
        Status.FAILED,
        "CLOUDMAKE_SCAN_PATH not set; set it in the environment of the run",
    )


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"staged": True, "all": True}, "staged and all are both asked for"),
        ({"range": "HEAD"}, "write two commits as A..B"),
        ({"range": "A...B"}, "write two commits as A..B"),
        ({"baseline": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_what_makes_no_sense_fails_with_words(scanned: Scanned, config: dict[str, Any], says: str) -> None:
    result = scanned.run(**config)

    assert result.status is Status.FAILED
    assert says in str(result.error)


def test_a_run_looks_at_a_range_or_at_what_is_staged_as_it_is_told(scanned: Scanned) -> None:
    scanned.repository.commit(brought=f"{TOKEN}\n")
    scanned.repository.write("staged", f"{TOKEN}\n")
    scanned.repository.git("add", "staged")

    by_range, staged = scanned.run(range="HEAD~1..HEAD"), scanned.run(staged=True)

    told = [str(outcome(result, ASSET).details["findings"]) for result in (by_range, staged)]
    assert ["brought:1" in told[0], "staged:1" in told[1]] == [True, True]


def test_remembers_a_clean_scan_but_of_a_dry_run_and_of_a_broken_one(scanned: Scanned, tmp_path: Path) -> None:
    state = tmp_path / "state"
    scanned.environ["CLOUDMAKE_SCAN_STATE"] = str(state)
    scanned.run(dry_run=True)
    assert not state.exists()

    scanned.run()
    kept = state.read_text()
    scanned.repository.commit(found=f"{TOKEN}\n")
    result = scanned.run()

    assert state.read_text() == kept
    assert str(outcome(result, ASSET).details["looked_at"]).startswith("the history since")


def test_to_remember_without_a_key_is_refused(scanned: Scanned, tmp_path: Path) -> None:
    scanned.environ |= {"CLOUDMAKE_SCAN_STATE": str(tmp_path / "state"), "CLOUDMAKE_SCAN_KEY": ""}

    assert "is signed by it" in str(scanned.run().error)


def test_in_dagster_a_run_makes_the_asset_and_its_check_and_a_tick_without_repository_neither(
    scanned: Scanned, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned.repository.commit(found=f"{TOKEN}\n")
    definition = build_measured_assets(SPEC, assets.made_by(SPEC))
    job = dg.Definitions(assets=[definition], jobs=[build_asset_job(SPEC, definition)]).resolve_job_def(SPEC.name)
    for name, value in scanned.environ.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, tags={"dagster/schedule_name": SPEC.schedule_name})
        monkeypatch.delenv("CLOUDMAKE_SCAN_PATH")
        tick = job.execute_in_process(instance=instance, tags={"dagster/schedule_name": SPEC.schedule_name})

    (evaluation,) = done.get_asset_check_evaluations()
    (made,) = done.asset_materializations_for_node(f"{SPEC.name}_assets")
    assert (evaluation.check_name, evaluation.passed) == (NO_SECRET_FOUND.name, False)
    assert (made.metadata["found"].value, made.metadata["known"].value) == (1, 0)
    assert tick.success
    assert tick.asset_materializations_for_node(f"{SPEC.name}_assets") == []
    assert not any(TOKEN[4:12] in str(event) for event in [*done.all_events, *tick.all_events])


# The command


def test_the_command_shows_a_table_and_ends_with_1_where_one_is_found_in_json_too(scanned: Scanned) -> None:
    clean = call({}, "secrets", "scan", str(scanned.repository.path))
    commit = scanned.repository.commit(**{"a folder/secret": f"{TOKEN}\n"})

    done = call({}, "secrets", "scan", str(scanned.repository.path))
    as_json = call({}, "secrets", "scan", str(scanned.repository.path), "--json")
    lenient = call({}, "secrets", "scan", str(scanned.repository.path), "--no-gate")

    (found,) = json.loads(as_json.stdout)["found"]
    head, row = done.stdout.splitlines()[:2]
    assert (clean.returncode, done.returncode, as_json.returncode, lenient.returncode) == (0, 1, 1, 0)
    assert head.split() == ["rule", "file:line", "commit", "fingerprint", "where"]
    assert row.startswith(f"betterleaks.github-pat  a folder/secret:1  {commit[:12]}  ")
    assert (found["file"], found["line"], found["commit"], found["present"]) == ("a folder/secret", 1, commit, True)


def test_the_command_ends_with_2_for_wrong_usage_and_with_1_for_what_cannot_be_read(scanned: Scanned) -> None:
    path = str(scanned.repository.path)

    both = call({}, "secrets", "scan", path, "--staged", "--all")
    unreadable = call({}, "secrets", "scan", path, "--range", "nowhere..HEAD", "--no-gate")

    assert (both.returncode, unreadable.returncode) == (2, 1)


def test_nothing_of_a_value_is_in_anything_that_a_scan_says(scanned: Scanned) -> None:
    path = f"{TOKEN}.txt"
    scanned.repository.commit(**{path: f"password = '{TOKEN}'\n"})
    scanned.repository.write("staged", f"{TOKEN}\n")
    scanned.repository.git("add", "staged")
    where = str(scanned.repository.path)

    said = [
        json.dumps(scanned.run().as_json()),
        json.dumps(scanned.run(staged=True, gate=True).as_json()),
        repr(scan(scanned.repository.path)),
        "\n".join(scanned.reporter.lines),
        *(call({}, "secrets", "scan", where, *options).stdout for options in ((), ("--json",), ("--staged",))),
    ]

    parts = {TOKEN[start : start + 8] for start in range(4, len(TOKEN) - 8)}
    assert "  […].txt:1  " in said[4]
    assert not [part for part in parts for each in said if part in each]


def test_our_own_repository_is_clean() -> None:
    # What is checked out, with all its history: other branches are tested where they are.
    report = scan(REPOSITORY, what=What.RANGE)

    assert [each.as_text() for each in report.found] == []
    # A shallow clone, as some make of it, has no history to look at.
    assert [each for each in report.unread if "shallow" not in each] == []
