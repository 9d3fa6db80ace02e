"""A job that neither works on a database nor has a schedule: run by the command line and by Dagster, nothing connected to."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.run.spec import JobSpec, load_specs
from cath_dagster.development.documentation import inventory_line, job_table
from cath_dagster.orchestration.jobs import build_op_job, build_step_job
from cath_dagster.orchestration.runs import _spent_seconds
from cath_dagster.orchestration.schedules import build_schedules
from tests.support.command import call
from tests.support.registered import registered

JOB = '''
"""Count the books on the shelf."""

import time
from pathlib import Path

from pydantic import Field

from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.run.job_parts import Step
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from library import LIBRARY


class CountSettings(JobSettings):
    most: int = Field(default=100, description="How many books there may be.")
    naps: int = Field(default=0, description="Seconds that it sleeps before it counts.")
    asks: bool = Field(default=False, description="Whether it asks a database that it says nothing of.")


def check_shelf(run: JobRun, settings: CountSettings) -> None:
    if not Path(run.require("SHELF")["SHELF"]).is_dir():
        run.refuse(["there is no shelf"])


def count_books(run: JobRun, settings: CountSettings) -> None:
    time.sleep(settings.naps)
    count = len(list(Path(run.require("SHELF")["SHELF"]).iterdir()))
    run.note("looked at the shelf")
    run.record(Outcome(target="books", matched=count, updated=count))
    if settings.asks:
        run.database.flush()
    if count > settings.most:
        run.fail(f"{count} books are too many")


def dust(run: JobRun, settings: CountSettings) -> None:
    run.record(Outcome(target="dust", matched=1))


SPEC = JobSpec(
    location=LIBRARY,
    name="NAME",
    owner="team:library",
    summary="Counts books.",
    description="Counts the books on the shelf. Changes nothing.",
    settings=CountSettings,
    prepare=check_shelf,
    required_variables=("SHELF",),
    WORK
)
'''
WORK = {
    "count_books": "run=count_books,",
    "tidy_shelf": 'steps=(Step(name="count", run=count_books, summary="Count"), Step(name="dust", run=dust, summary="Dust")),',
}
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
"""Whoever connects there fails."""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeLocation]:
    """Yield a location with two such jobs, and two books on its shelf."""
    (tmp_path / "shelf").mkdir()
    for title in ("one", "two"):
        (tmp_path / "shelf" / title).write_text("")
    monkeypatch.setenv("LIBRARY_SHELF", str(tmp_path / "shelf"))
    monkeypatch.setenv("LIBRARY_DATABASE_URL", NOWHERE)
    jobs = {name: JOB.replace("NAME", name).replace("WORK", work) for name, work in WORK.items()}
    with registered(tmp_path, "library", jobs) as location:
        yield location


@pytest.fixture
def specs(library: CodeLocation) -> dict[str, JobSpec]:
    return {spec.name: spec for spec in load_specs(library)}


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command and return its exit code and what it printed."""
    done = call({}, "run", *arguments, "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def test_the_command_line_runs_it_without_connecting(library: CodeLocation) -> None:
    code, result = run("count_books")

    assert (code, result["status"], result["error"]) == (0, "success", None)
    assert [(each["target"], each["matched"], each["updated"]) for each in result["outcomes"]] == [("books", 2, 2)]
    assert result["notes"] == ["looked at the shelf"]


def test_a_dry_run_says_what_matched(library: CodeLocation) -> None:
    _, result = run("count_books", "--dry-run")

    assert [(each["matched"], each["updated"]) for each in result["outcomes"]] == [(2, 0)]


def test_its_steps_are_done_in_order(library: CodeLocation) -> None:
    _, result = run("tidy_shelf", "--set", "most=1")

    assert result["error"] == "count: 2 books are too many"
    assert [each["target"] for each in result["outcomes"]] == ["books", "dust"]


def test_what_it_leaves_undone_fails_it_with_what_was_done(library: CodeLocation) -> None:
    code, result = run("count_books", "--set", "most=1")

    assert (code, result["status"], result["error"]) == (1, "failed", "2 books are too many")
    assert result["outcomes"][0]["updated"] == 2


def test_it_may_refuse_before_its_work(library: CodeLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBRARY_SHELF", "/nowhere")

    code, result = run("count_books")

    assert (code, result["status"], result["outcomes"]) == (1, "refused", [])


def test_a_variable_that_it_requires_is_named(library: CodeLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIBRARY_SHELF")
    monkeypatch.delenv("LIBRARY_DATABASE_URL")

    _, result = run("count_books")

    assert "LIBRARY_SHELF not set" in result["error"]


def test_one_that_asks_a_database_all_the_same_is_told_what_its_specification_lacks(library: CodeLocation) -> None:
    _, result = run("count_books", "--set", "asks=true")

    assert result["status"] == "failed"
    assert "library/count_books works on no database by its specification" in result["error"]


def test_the_doctor_asks_what_its_run_asks_first(library: CodeLocation) -> None:
    well = call({}, "doctor", "library", "--all")
    ill = call({"LIBRARY_SHELF": "/nowhere"}, "doctor", "library")

    assert well.returncode == 0
    assert "its run could begin" in well.stdout
    assert "DATABASE_URL" not in well.stdout
    # Nothing starts these by itself: whoever does is told before.
    assert ill.returncode == 0
    assert "would be told: there is no shelf" in ill.stdout


def test_lists_and_pages_say_that_it_has_no_schedule(library: CodeLocation, specs: dict[str, JobSpec]) -> None:
    listed = json.loads(call({}, "jobs", "--json").stdout)

    assert {row["job"]: (row["cron"], row["next_tick"]) for row in listed if row["location"] == "library"} == {
        "count_books": (None, None),
        "tidy_shelf": (None, None),
    }
    assert "no schedule" in call({}, "jobs").stdout
    assert "| `count_books` | no schedule | op | Counts books. |" in job_table(library)
    assert inventory_line(specs["tidy_shelf"]) == "library/tidy_shelf  no schedule  team:library"


def test_dagster_gets_a_job_and_no_schedule(specs: dict[str, JobSpec]) -> None:
    jobs = [(spec, build_op_job(spec)) for spec in specs.values() if not spec.steps]
    definitions = dg.Definitions(jobs=[job for _, job in jobs], schedules=build_schedules(jobs))

    dg.Definitions.validate_loadable(definitions)
    assert build_schedules(jobs) == []


def test_dagster_runs_it_without_connecting(specs: dict[str, JobSpec], instance: dg.DagsterInstance) -> None:
    done = build_op_job(specs["count_books"]).execute_in_process(instance=instance)

    assert done.success


def test_a_failure_of_it_fails_dagsters_run(specs: dict[str, JobSpec], instance: dg.DagsterInstance) -> None:
    done = build_op_job(specs["count_books"]).execute_in_process({"most": 1}, instance=instance, raise_on_error=False)

    (failed,) = [event for event in done.all_events if event.is_step_failure]
    assert "2 books are too many" in failed.step_failure_data.error_display_string


def test_dagster_does_its_steps_in_order(specs: dict[str, JobSpec], instance: dg.DagsterInstance) -> None:
    done = build_step_job(specs["tidy_shelf"]).execute_in_process(instance=instance)

    assert [event.step_key for event in done.all_events if event.is_step_success] == ["count", "dust"]


def test_a_run_s_time_is_that_of_all_its_steps(specs: dict[str, JobSpec], instance: dg.DagsterInstance) -> None:
    done = build_step_job(specs["tidy_shelf"]).execute_in_process(
        {"timeout_seconds": 1, "naps": 60}, instance=instance, raise_on_error=False
    )

    (failed,) = [event for event in done.all_events if event.is_step_failure]
    said = failed.step_failure_data.user_failure_data
    assert said is not None
    assert (said.description or "").startswith("timeout: the run has had its second and was ended")
    # In a run of its own process the next step would begin: with what is left, which is nothing.
    spec, left_for = specs["tidy_shelf"], partial(_spent_seconds, instance, instance.get_run_by_id(done.run_id))
    assert (left_for(spec, "count"), left_for(spec, "dust") > 1) == (0, True)
    # Dagster stands behind it, a minute later.
    run = instance.get_run_by_id(done.run_id)
    assert run is not None
    assert run.tags["dagster/max_runtime"] == "61"


def test_a_run_that_timed_out_says_so_to_machines(library: CodeLocation) -> None:
    code, result = run("count_books", "--set", "timeout_seconds=1", "--set", "naps=60")

    assert (code, result["status"], result["attempts"]) == (1, "timeout", 1)
    assert result["seconds"] < 1 + 5


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(set_dagster_home=False) as made:
        yield made
