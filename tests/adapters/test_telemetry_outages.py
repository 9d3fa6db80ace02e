"""Exporters that are down, slow or broken, beside the command as it is called: no run pays for them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.collector import Collector, Mood, collecting, plain
from tests.support.command import PROGRAM
from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from tests.support.warm import TELEMETRY, run, start

pytestmark = pytest.mark.stack

AN_HOUR = "3600"
"""The exporter's own time limit here, so that nothing but ours ends its waiting."""
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(0.02); RETURN OLD; END $$;
CREATE TRIGGER slow BEFORE DELETE ON ingestion_log FOR EACH ROW EXECUTE FUNCTION slow()
"""
IMPORTED = """
import sys
from cath_dagster.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print([name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "azure")], file=sys.stderr)
"""


def environment(service: Service, **more: str) -> dict[str, str]:
    foreign = ("CATH_", "DAGSTER_", "OTEL_", "APPLICATION", "TRACE")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**plain, **service.environ, "COLUMNS": "250", "PYTHONWARNINGS": "error", **more}


def arguments(service: Service) -> list[str]:
    return ["run", "clear_audit", "--json", "--quiet", "--as-of", service.as_of.isoformat()]


def call(service: Service, **more: str) -> subprocess.CompletedProcess[str]:
    return run(
        [PROGRAM, *arguments(service)],
        environ=environment(service, **more),
        modules=TELEMETRY,
        timeout=PATIENCE_SECONDS,
    )


def add_entries(service: Service, count: int) -> None:
    service.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), %s, 'SNL', '1', 'SUCCESS' FROM generate_series(1, %s)",
        (service.days_ago(91), count),
    )


def destination(collector: Collector, kind: str) -> dict[str, str]:
    if kind == "otlp":
        return {**collector.otlp, "OTEL_EXPORTER_OTLP_TIMEOUT": AN_HOUR}
    return {"APPLICATIONINSIGHTS_CONNECTION_STRING": collector.connection_string}


def check_done(service: Service, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "success"
    assert service.count("ingestion_log") == 0
    assert service.value("SELECT outcome FROM maintenance.purge_ledger WHERE table_name = 'ingestion_log'") == "success"


@pytest.mark.parametrize("kind", ["otlp", "azure"])
@pytest.mark.parametrize("mood", [Mood.HANGS, Mood.FAILS])
def test_a_run_ends_well_while_an_exporter_never_answers_or_fails(service: Service, kind: str, mood: Mood) -> None:
    add_entries(service, 20)

    with collecting(mood) as collector:
        done = call(service, **destination(collector, kind))

    assert collector.posted
    check_done(service, done)
    assert done.stderr == ""


@pytest.mark.parametrize("kind", ["otlp", "azure"])
def test_a_run_ends_well_where_nobody_listens(service: Service, kind: str) -> None:
    add_entries(service, 20)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        collector = Collector(f"http://127.0.0.1:{closed.getsockname()[1]}", Mood.TAKES)

    done = call(service, **destination(collector, kind))

    check_done(service, done)


def test_a_person_is_told_in_one_line_that_telemetry_is_incomplete(service: Service) -> None:
    with collecting(Mood.FAILS) as collector:
        done = subprocess.run(
            [PROGRAM, "run", "clear_audit"],
            env=environment(service, **collector.otlp),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    (line,) = [line for line in done.stderr.splitlines() if "telemetry" in line]
    assert "The run itself is not affected" in line
    assert "Traceback" not in done.stderr


@contextlib.contextmanager
def purge_underway(service: Service, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `clear_audit` on rows that go slowly; yield its process once batches were committed."""
    add_entries(service, 3_000)
    service.connection.execute(SLOW)
    with start([PROGRAM, *arguments(service)], environ=environment(service, **more), modules=TELEMETRY) as process:
        try:
            wait_until(lambda: service.count("ingestion_log") < 3_000 or process.poll() is not None)
            assert process.poll() is None, "the purge never got under way"
            yield process
        finally:
            process.kill()


def test_a_run_killed_beside_an_exporter_that_hangs_is_finished_by_the_next(service: Service) -> None:
    with collecting(Mood.HANGS) as collector:
        environ = {**destination(collector, "otlp"), "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with purge_underway(service, **environ) as process:
            process.kill()
            process.wait(timeout=PATIENCE_SECONDS)
        left = service.count("ingestion_log")
        service.connection.execute("DROP TRIGGER slow ON ingestion_log")
        done = call(service, **environ)

    assert 0 < left < 3_000
    assert json.loads(done.stdout)["status"] == "success"
    assert service.count("ingestion_log") == 0
    assert (
        service.value("SELECT sum(deleted) FROM maintenance.purge_ledger WHERE table_name = 'ingestion_log'") == 3_000
    )


def test_what_a_run_has_done_before_it_is_killed_was_sent(service: Service) -> None:
    with collecting() as collector:
        environ = {**collector.otlp, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with purge_underway(service, **environ) as process:
            wait_until(lambda: collector.named("batch"), "no batch was ever sent")
            process.kill()

    assert len(collector.named("count")) == 3
    assert not [span for span in collector.spans if span.name.startswith("cath/")]


def test_a_run_that_is_terminated_tells_so_in_its_trace(service: Service) -> None:
    with collecting() as collector, purge_underway(service, **collector.otlp) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_SECONDS) == 143

    (run,) = [span for span in collector.spans if span.name == "cath/clear_audit"]
    assert plain(run.attributes)["status"] == "interrupted"


def test_a_run_that_is_terminated_does_not_wait_for_an_exporter_that_hangs(service: Service) -> None:
    with (
        collecting(Mood.HANGS) as collector,
        purge_underway(service, **destination(collector, "otlp")) as process,
    ):
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_SECONDS) == 143
        # What it held is free while the exporter still waits for an answer.
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
        assert service.value(f"{held} (SELECT oid FROM pg_database WHERE datname = current_database())") == 0


def test_a_run_without_telemetry_does_not_load_its_libraries(service: Service) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments(service)],
        env=environment(service),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert json.loads(done.stdout)["status"] == "success"
    assert done.stderr.splitlines()[-1] == "[]"
