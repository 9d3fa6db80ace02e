"""`dagster job execute`, as CI and developers call it, from the repository's root."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dagster_command import DAGSTER, add_entries, command, root
from tests.support.held import hold, let_go
from tests.support.service import Service
from tests.support.waiting import wait_until
from tests.support.warm import run, start

pytestmark = pytest.mark.stack

BY_MODULE = ("-m", "cath_dagster.cath.definitions")


def job_execute(
    service: Service, folder: Path, config: str = "", where: tuple[str, ...] = BY_MODULE, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `clear_audit` to its end; however it ends, it leaves nothing in the working tree."""
    arguments, environ = command(service, folder, config, *where)
    before = set(root(folder).iterdir())
    done = run(arguments, environ=environ | variables, folder=root(folder))
    assert set(root(folder).iterdir()) == before
    return done


def backends(service: Service) -> list[int]:
    """Return the sessions of the job on the server."""
    rows = service.rows(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'clear_audit:%'"
    )
    return [row[0] for row in rows]


def ledger_of_ingestion_log(service: Service) -> tuple[int, str]:
    ((deleted, outcome),) = service.rows(
        "SELECT deleted, outcome FROM maintenance.purge_ledger WHERE table_name = 'ingestion_log'"
    )
    return deleted, outcome


@contextlib.contextmanager
def purge_underway(service: Service, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `clear_audit` on rows that go slowly; yield its process once batches were committed and one is at work."""
    add_entries(service, 3_000)
    hold(service.connection, "ingestion_log")
    arguments, environ = command(service, folder, "", *BY_MODULE)
    with (
        (folder / "run.log").open("wb") as log,
        start(arguments, environ=environ, output=log, folder=root(folder)) as process,
    ):
        try:
            deadline = time.monotonic() + 60
            while service.count("ingestion_log") == 3_000 or not is_deleting(service):
                assert process.poll() is None, (folder / "run.log").read_text()
                assert time.monotonic() < deadline, "the purge never got under way"
                time.sleep(0.02)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def is_deleting(service: Service) -> bool:
    return bool(
        service.rows(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
            " AND application_name LIKE 'clear_audit:%%' AND query ILIKE 'DELETE%%'"
        )
    )


def test_a_run_that_succeeds_exits_with_zero(service: Service, tmp_path: Path) -> None:
    add_entries(service, 3)
    arguments, environ = command(service, tmp_path, "", *BY_MODULE)

    done = subprocess.run(
        arguments, env=environ, cwd=root(tmp_path), capture_output=True, text=True, timeout=90, check=False
    )

    assert done.returncode == 0, done.stderr
    assert service.count("ingestion_log") == 0


def test_the_code_location_may_be_named_by_a_variable(service: Service, tmp_path: Path) -> None:
    add_entries(service, 3)

    done = job_execute(service, tmp_path, where=(), DAGSTER_MODULE_NAME="cath_dagster.cath.definitions")

    assert done.returncode == 0, done.stderr
    assert service.count("ingestion_log") == 0


def test_a_refused_run_exits_with_another_number(service: Service, tmp_path: Path) -> None:
    add_entries(service, 10_001)

    done = job_execute(service, tmp_path)

    assert done.returncode != 0
    assert "allow_large" in done.stderr + done.stdout
    assert service.count("ingestion_log") == 10_001


def test_a_large_deletion_goes_ahead_where_the_file_allows_it(service: Service, tmp_path: Path) -> None:
    add_entries(service, 10_001)

    assert job_execute(service, tmp_path, "allow_large: true\n").returncode == 0
    assert service.count("ingestion_log") == 0


def test_bad_config_exits_with_another_number_and_names_the_key(service: Service, tmp_path: Path) -> None:
    add_entries(service, 1)

    done = job_execute(service, tmp_path, "max_rows: -1\n")

    assert done.returncode != 0
    assert "max_rows" in done.stderr + done.stdout
    assert service.count("ingestion_log") == 1


def test_prints_no_secret(service: Service, tmp_path: Path) -> None:
    service.environ["CATH_DATABASE_URL"] = "postgresql://someone:hunter2@127.0.0.1:1/cath"

    done = job_execute(service, tmp_path)

    assert done.returncode != 0
    assert "hunter2" not in done.stderr + done.stdout
    assert service.environ["CATH_NOTIFY_API_KEY"] not in done.stderr + done.stdout


def test_sigterm_ends_a_query_that_would_not_end_by_itself_and_leaves_complete_batches_to_go_on_from(
    service: Service, tmp_path: Path
) -> None:
    before = set(root(tmp_path).iterdir())
    with purge_underway(service, tmp_path) as process:
        process.terminate()
        wait_until(lambda: not backends(service), "the query runs on")
        assert process.wait(timeout=60) != 0

    assert set(root(tmp_path).iterdir()) == before
    deleted, outcome = ledger_of_ingestion_log(service)
    assert 0 < deleted < 3_000
    assert service.count("ingestion_log") == 3_000 - deleted
    assert outcome == "interrupted"
    let_go(service.connection)
    assert job_execute(service, tmp_path).returncode == 0
    assert service.count("ingestion_log") == 0


def test_a_run_killed_in_mid_purge_leaves_complete_batches_and_frees_its_lock(service: Service, tmp_path: Path) -> None:
    with purge_underway(service, tmp_path) as process:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
    let_go(service.connection)
    service.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY(%s)", backends(service))

    left = service.count("ingestion_log")
    ((deleted,),) = service.rows("SELECT deleted FROM maintenance.purge_ledger WHERE table_name = 'ingestion_log'")
    assert (deleted, left) == (3_000 - left, 3_000 - deleted)
    assert service.run("clear_audit").error is None
    assert service.count("ingestion_log") == 0


def test_the_projects_own_settings_name_the_code_location(tmp_path: Path) -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("CATH_", "DAGSTER_"))}

    done = run([DAGSTER, "job", "list"], environ=plain, folder=root(tmp_path))

    assert done.returncode == 0, done.stderr
    assert "Job: clear_audit" in done.stdout
