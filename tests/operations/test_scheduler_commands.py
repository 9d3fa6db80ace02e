"""`cath-dagster scheduler`, on an instance's real database and, for what it commands, a Dagster that answers as told."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from cath_dagster.adapters.terminal import out
from cath_dagster.core.history.writing import begin, end, skip
from cath_dagster.core.ports.orchestrator import Orchestrator
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.operations.scheduler.control import Control, ControlError, typed
from cath_dagster.operations.scheduler.registration import mirror
from cath_dagster.operations.scheduler.shown import milliseconds, print_history, print_jobs, span
from cath_dagster.registry import all_specs, find_spec
from tests.operations.instance import Instance
from tests.operations.test_history import BEGUN, ended, rows
from tests.operations.test_scheduler_monitor import registered
from tests.support.command import Done, call
from tests.support.dagster_internals import InstigatorStatus

STARTED = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)


@pytest.fixture
def kept(instance: Instance, database: Database) -> Instance:
    """Return an instance with a registry, a run that failed, one that goes on, and a skipped tick."""
    instance.add_schedule("clear_audit_cron", "0 1 * * *")
    registered(instance, database, now=datetime.now(UTC))
    failed = replace(BEGUN, started_at=STARTED)
    refused = replace(BEGUN, run_id="r2", started_at=STARTED + timedelta(minutes=1), job="subscriptions", trigger="cli")
    database.transaction(partial(begin, begun=failed))
    database.transaction(
        partial(end, begun=failed, ended=ended("failed", at=STARTED, error="the [bold]table[/] is gone"))
    )
    database.transaction(partial(begin, begun=refused))
    database.transaction(
        partial(skip, begun=replace(BEGUN, started_at=STARTED + timedelta(hours=1)), reason="it goes on")
    )
    return instance


def scheduler(instance: Instance, *arguments: str, **environ: str) -> Done:
    return call({"DAGSTER_POSTGRES_URL": instance.url, **environ}, "scheduler", *arguments)


def on_record(instance: Instance) -> list[tuple[str, ...]]:
    """Return the audit log's actions, jobs and results, the oldest first."""
    return instance.connection.execute(
        "SELECT action, location || '/' || job, result FROM operations.audit_log ORDER BY sequence"
    ).fetchall()


def answer(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_status_says_of_every_job_what_is_on_what_ran_and_what_is_next(kept: Instance) -> None:
    said = answer(scheduler(kept, "status", "--json"))

    assert said["scheduling"] == "running"
    jobs = {f"{one['location']}/{one['name']}": one for one in said["jobs"]}
    assert set(jobs) == {spec.key for spec in all_specs()}
    failed, going = jobs["cath/clear_audit"], jobs["cath/subscriptions"]
    assert (failed["enabled"], failed["last_status"], failed["total_failures"]) == (True, "failed", 1)
    assert failed["next_run_at"]
    assert (going["enabled"], going["running_run_id"], going["next_run_at"]) == (False, "r2", None)
    assert [one["name"] for one in answer(scheduler(kept, "status", "cath/clear_audit", "--json"))["jobs"]] == [
        "clear_audit"
    ]
    text = scheduler(kept, "status").stdout
    assert "the [bold]table[/] is gone" in text
    assert answer(scheduler(kept, "status", "--json", SCHEDULER_ENABLED="false"))["scheduling"] == "stopped"
    assert "scheduling is stopped" in scheduler(kept, "status", SCHEDULER_ENABLED="false").stdout


def test_what_dagster_says_of_a_schedule_is_seen_at_once(kept: Instance) -> None:
    (state,) = kept.dagster.all_instigator_state()
    kept.dagster.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))

    (job,) = answer(scheduler(kept, "status", "cath/clear_audit", "--json"))["jobs"]

    assert (job["enabled"], job["next_run_at"]) == (False, None)


def test_status_says_by_its_exit_code_that_a_job_is_unwell_where_it_is_asked_to(kept: Instance) -> None:
    assert scheduler(kept, "status").returncode == 0
    assert scheduler(kept, "status", "--check").returncode == 1
    assert scheduler(kept, "status", "bon", "--check").returncode == 0
    unknown = scheduler(kept, "status", "cath/nonsense")
    assert unknown.returncode == 2
    assert "cath/clear_audit" in unknown.stderr


def test_history_finds_runs_by_what_is_known_of_them(kept: Instance) -> None:
    def found(*arguments: str) -> list[str]:
        return [one["status"] for one in answer(scheduler(kept, "history", *arguments, "--json"))["items"]]

    assert found() == ["skipped", "running", "failed"]
    assert found("cath/clear_audit") == ["skipped", "failed"]
    assert found("--status", "failed") == ["failed"]
    assert found("--trigger", "cli") == ["running"]
    assert found("--run", "r1") == ["failed"]
    assert found("--since", (STARTED + timedelta(minutes=1)).isoformat()) == ["skipped", "running"]
    assert found("--limit", "1") == ["skipped"]
    text = scheduler(kept, "history").stdout
    assert "it goes on" in text
    assert scheduler(kept, "history", "bon").returncode == 0
    assert scheduler(kept, "history", "cath/nonsense").returncode == 2
    for option, value in (("--status", "sucess"), ("--trigger", "me"), ("--since", "yesterday")):
        wrong = scheduler(kept, "history", option, value)
        assert (wrong.returncode, value in wrong.stderr) == (2, True)


def test_tables_fit_into_eighty_columns(
    kept: Instance, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = answer(scheduler(kept, "status", "--json"))["jobs"]
    for one in jobs:
        for name in ("last_run_at", "next_run_at"):
            one[name] = datetime.fromisoformat(one[name]) if one[name] else None
    widest = {
        "name": "cleanup_expired_privacy_exports",
        "total_runs": 1_234_567,
        "total_failures": 999,
        "last_error": None,
    }
    jobs.append({**jobs[0], **widest, "last_status": "canceled", "last_run_at": STARTED - timedelta(days=99)})
    runs = answer(scheduler(kept, "history", "--json"))["items"]
    for run in runs:
        run["started_at"] = datetime.fromisoformat(run["started_at"])
    monkeypatch.setattr(out, "width", 80)

    print_jobs([one | {"last_error": None} for one in jobs], datetime.now(UTC), is_stopped=False)
    print_history([run | {"error": None, "job": "x" * 60} for run in runs], datetime.now(UTC))

    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "cleanup_expired_privacy_exports" in printed


def test_lengths_of_time_are_said_in_their_largest_unit() -> None:
    lengths = [timedelta(seconds=-1), timedelta(seconds=5), timedelta(minutes=90), timedelta(days=3, hours=23)]

    assert [span(length) for length in lengths] == ["now", "5 s", "1 h", "3 d"]
    assert [milliseconds(value) for value in (None, 0, 1_250, 59_949, 61_000)] == [
        "–",
        "0.0 s",
        "1.2 s",
        "59.9 s",
        "1 min",
    ]


def test_a_job_that_is_gone_is_forgotten_with_its_history_and_one_that_is_registered_is_not(
    kept: Instance, database: Database
) -> None:
    refused = scheduler(kept, "forget", "cath/clear_audit")
    assert refused.returncode == 1
    assert "is registered" in refused.stderr

    rest = [spec for spec in all_specs() if spec.key != "cath/clear_audit"]
    database.transaction(lambda connection: mirror(connection, rest, {}, now=STARTED))
    assert answer(scheduler(kept, "forget", "cath/clear_audit", "--json"))["forgotten"] is True

    assert rows(kept, "job") == [("subscriptions",)]
    assert on_record(kept) == [("forget", "cath/clear_audit", "forgotten")]
    assert scheduler(kept, "forget", "cath/clear_audit").returncode == 1
    assert scheduler(kept, "forget", "clear_audit").returncode == 2


def test_a_job_that_ran_before_it_was_registered_is_marked(instance: Instance, database: Database) -> None:
    database.transaction(partial(end, begun=BEGUN, ended=ended()))

    text = scheduler(instance, "status").stdout

    assert "clear_audit ?" in text.replace("  ", " ")
    assert "scheduler_monitor" in text


def test_without_the_database_or_its_tables_it_says_which_variable_or_what_to_run(instance: Instance) -> None:
    without = call({}, "scheduler", "status")
    assert (without.returncode, "DAGSTER_POSTGRES_URL is not set" in without.stderr) == (2, True)


# What it commands


class DagsterAnswers:
    """Stands for Dagster's web server: answers each request as told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append(json.loads(body)["variables"])
                said = json.dumps({"data": {"field": outer.answers.pop(0)}}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def dagster() -> Iterator[DagsterAnswers]:
    answers = DagsterAnswers()
    yield answers
    answers.close()


def test_a_run_is_launched_with_what_it_is_told_and_a_nonce_and_waited_for(
    kept: Instance, dagster: DagsterAnswers, database: Database
) -> None:
    launched = {"__typename": "LaunchRunSuccess", "run": {"runId": "r1"}}
    dagster.answers = [launched, launched]
    given = ("--max-rows", "5", "--dry-run", "--set", "audit_log_enabled=false", "--set", "audit_log_retention_days=30")

    assert answer(scheduler(kept, "run", "cath/clear_audit", *given, "--json", CONSOLE_DAGSTER_URL=dagster.url)) == {
        "location": "cath", "job": "clear_audit", "run_id": "r1",
    }  # fmt: skip
    params = dagster.asked[0]["params"]
    assert json.loads(params["runConfigData"]) == {
        "dry_run": True, "max_rows": 5, "audit_log_enabled": False, "audit_log_retention_days": 30,
    }  # fmt: skip
    assert [tag["key"] for tag in params["executionMetadata"]["tags"]] == ["cath_dagster/nonce"]

    with kept.connection.cursor() as cursor:
        told = cursor.execute(
            "SELECT actor, origin, action, location || '/' || job, result, nonce FROM operations.audit_log ORDER BY sequence"
        ).fetchall()
    assert [row[2:5] for row in told] == [("run", "cath/clear_audit", "requested"), ("run", "cath/clear_audit", "done")]
    assert told[0][0].startswith("account")
    assert told[0][5] == params["executionMetadata"]["tags"][0]["value"]
    # Its worker records it, and finds who asked for it.
    run = replace(BEGUN, run_id="launched", trigger="manual", nonce=told[0][5])
    database.transaction(partial(begin, begun=run))
    assert kept.value("SELECT trigger FROM operations.scheduled_job_history WHERE run_id = 'launched'") == "cli"

    # The run of this id has failed.
    waited = scheduler(kept, "run", "cath/clear_audit", "--wait", CONSOLE_DAGSTER_URL=dagster.url)
    assert (waited.returncode, "cath/clear_audit: failed" in waited.stdout) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--set", "allow_large=true"), "cath-dagster run --allow-large"),
        (("--set", "retention=3"), "retention"),
        (("--max-rows", "-1"), "max_rows"),
        (("--partition", "2026-11-23"), "has no partitions"),
        (("--set", "nothing"), "KEY=VALUE"),
    ],
)
def test_what_a_run_would_refuse_is_refused_before_anything_is_asked_of_dagster(
    kept: Instance, dagster: DagsterAnswers, arguments: tuple[str, ...], says: str
) -> None:
    done = scheduler(kept, "run", "cath/clear_audit", *arguments, CONSOLE_DAGSTER_URL=dagster.url)

    assert (done.returncode, dagster.asked) == (2, [])
    assert says in done.stderr


def test_a_job_that_somebody_holds_is_not_run_but_dry(kept: Instance, dagster: DagsterAnswers) -> None:
    kept.connection.execute(
        "INSERT INTO operations.job_hold (location, job, reason, held_by, held_at, until)"
        " VALUES ('cath', 'clear_audit', 'an incident', 'jane', now(), now() + interval '1 hour')"
    )
    dagster.answers = [{"__typename": "LaunchRunSuccess", "run": {"runId": "r7"}}]

    refused = scheduler(kept, "run", "cath/clear_audit", CONSOLE_DAGSTER_URL=dagster.url)
    dry = scheduler(kept, "run", "cath/clear_audit", "--dry-run", CONSOLE_DAGSTER_URL=dagster.url)

    assert (refused.returncode, dry.returncode, len(dagster.asked)) == (1, 0, 1)
    assert "held by jane" in refused.stderr
    text = scheduler(kept, "status", "cath").stdout
    assert "an incident" in text
    (job,) = answer(scheduler(kept, "status", "cath/clear_audit", "--json"))["jobs"]
    assert (job["held_by"], job["hold_reason"]) == ("jane", "an incident")


def test_a_job_is_switched_on_and_off_by_dagsters_own_switch(kept: Instance, dagster: DagsterAnswers) -> None:
    state = {"__typename": "ScheduleStateResult"}
    found = {"__typename": "Schedule", "scheduleState": {"id": "x"}, "metadataEntries": []}
    dagster.answers = [found, state, found, state, {"__typename": "PythonError"}]

    on = scheduler(kept, "enable", "cath/clear_audit", CONSOLE_DAGSTER_URL=dagster.url)
    off = scheduler(kept, "disable", "cath/clear_audit", CONSOLE_DAGSTER_URL=dagster.url)
    fails = scheduler(kept, "enable", "cath/clear_audit", CONSOLE_DAGSTER_URL=dagster.url)

    assert (on.stdout.strip(), off.stdout.strip()) == ("cath/clear_audit is on", "cath/clear_audit is off")
    assert dagster.asked[0]["selector"]["scheduleName"] == "clear_audit_cron"
    assert fails.returncode == 1


def test_a_job_without_a_schedule_is_neither_on_nor_off(kept: Instance, dagster: DagsterAnswers) -> None:
    manual = next(spec for spec in all_specs() if spec.schedule is None and not spec.after)

    done = scheduler(kept, "disable", manual.key, CONSOLE_DAGSTER_URL=dagster.url)

    assert (done.returncode, dagster.asked) == (1, [])
    assert "has no schedule" in done.stderr


def test_a_run_is_cancelled_where_dagster_has_it(kept: Instance, dagster: DagsterAnswers) -> None:
    dagster.answers = [{"__typename": "TerminateRunSuccess"}, {"__typename": "RunNotFoundError"}]

    assert scheduler(kept, "cancel", "r2", CONSOLE_DAGSTER_URL=dagster.url).returncode == 0
    gone = scheduler(kept, "cancel", "r9", CONSOLE_DAGSTER_URL=dagster.url)

    assert (gone.returncode, "r9" in gone.stderr) == (1, True)
    # Who looks after the location finds it there.
    assert on_record(kept)[:2] == [
        ("cancel", "cath/subscriptions", "requested"),
        ("cancel", "cath/subscriptions", "done"),
    ]


def test_what_is_interrupted_is_not_on_record_as_done(kept: Instance, database: Database) -> None:
    class Interrupted:
        def cancel(self, _: str) -> None:
            raise KeyboardInterrupt

    control = Control(orchestrator=cast("Orchestrator", Interrupted()), environ={}, database=database)
    with pytest.raises(KeyboardInterrupt):
        control.cancel("r2")

    assert on_record(kept)[-1][2] == "unknown: interrupted"


def test_a_job_that_takes_two_is_not_run_by_one(kept: Instance, database: Database) -> None:
    spec = replace(find_spec("clear_audit"), needs_approval=True)
    nowhere = cast("Orchestrator", None)
    with pytest.raises(ControlError, match="takes another person"):
        Control(orchestrator=nowhere, environ={}, database=database).run(spec, {}, None)

    assert on_record(kept) == []


@pytest.mark.parametrize(("url", "code"), [("", 2), ("dagster:3000", 2), ("http://127.0.0.1:1", 1)])
def test_a_dagster_that_is_not_named_or_not_there_is_said(kept: Instance, url: str, code: int) -> None:
    done = scheduler(kept, "cancel", "r2", CONSOLE_DAGSTER_URL=url)

    assert done.returncode == code
    assert ("CONSOLE_DAGSTER_URL" if code == 2 else "does not answer") in done.stderr


def test_values_are_as_dagsters_launchpad_takes_them() -> None:
    spec: JobSpec = find_spec("clear_audit")
    given = {"dry_run": "yes", "max_rows": "7", "as_of": "2026-11-18", "audit_log_enabled": "false", "pace": "bulk"}

    assert {name: typed(spec, name, value) for name, value in given.items()} == {
        "dry_run": True, "max_rows": 7, "as_of": "2026-11-18", "audit_log_enabled": False, "pace": "bulk",
    }  # fmt: skip
