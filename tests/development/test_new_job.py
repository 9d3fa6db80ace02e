"""`cath-dagster new-job`: what it reads, what it refuses, and a job that it writes, held against the whole of `make check`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cath_dagster.bon import BON
from cath_dagster.checktick import CHECKTICK
from cath_dagster.development.local import REPOSITORY, Local
from cath_dagster.development.new_job.facts import read_target
from cath_dagster.development.new_job.source import catalogue_of
from tests.support import warm
from tests.support.command import PROGRAM, call

ARGUMENTS = {"table": "whatsapp_conversations", "by": "last_activity_at", "days": "30"}
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".local", "__pycache__", ".ruff_cache", ".import_linter_cache", "node_modules", "*.png"
)
"""Not the cache of mypy's: after `make check`, as in CI, it has to look at what was written and no more."""


def order(url: str, name: str = "chat_cleanup", location: str = "bon", **changed: str) -> tuple[int, str]:
    """Ask for a job; return the exit code and what is said on standard error."""
    options = [part for key, value in (ARGUMENTS | changed).items() for part in (f"--{key}", value)]
    done = call({"BON_DATABASE_URL": url}, "new-job", location, name, *options)
    return done.returncode, done.stderr


def written() -> list[str]:
    """Return what there is of such a job in this checkout."""
    return [str(path) for path in REPOSITORY.glob("*/**/*chat_cleanup*") if ".venv" not in path.parts]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"table": "whatsapp_conversation"}, "the service has no table 'whatsapp_conversation'; there are whatsapp_"),
        ({"by": "last_activity"}, "whatsapp_conversations has no column 'last_activity'; there are last_activity_at"),
        ({"by": "phone"}, "whatsapp_conversations.phone is of the type text; rows expire by a timestamp or a date"),
        ({"days": "0"}, "0 days; rows are kept for 1 to 36,500 days"),
        ({"days": "36501"}, "36501 days; rows are kept for 1 to 36,500 days"),
        ({"cron": "daily"}, "'daily' is no cron"),
        ({"name": "Chat-Cleanup"}, "'Chat-Cleanup' cannot be a job's name"),
        ({"name": "import"}, "'import' cannot be a job's name"),
        ({"name": "session_cleanup"}, "there is a job bon/session_cleanup already"),
        ({"name": "clear_audit"}, "there is a job cath/clear_audit already"),
        ({"name": "whatsapp_conversations"}, "name the job after what it does"),
        ({"location": "operations"}, "its jobs are written by hand"),
        ({"location": "bonn"}, "there is no code location 'bonn'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_says_why_it_cannot_be_written(bon_url: str, changed: dict[str, str], says: str) -> None:
    code, said = order(bon_url, **changed)

    assert code == 2
    assert says in said
    assert written() == []


@pytest.mark.parametrize(
    ("ddl", "says"),
    [
        ("CREATE TABLE odd (at timestamptz)", "odd has no key"),
        ("CREATE TABLE odd (a int, b int, at timestamptz, PRIMARY KEY (a, b))", "odd has a key of 2 columns"),
        ("CREATE TABLE odd (id inet PRIMARY KEY, at timestamptz)", "column id is of the type inet"),
        (
            "CREATE TABLE odd (id int PRIMARY KEY, at timestamptz, up int REFERENCES odd ON DELETE CASCADE)",
            "odd.up (odd_up_fkey) leads by ON DELETE CASCADE back to odd",
        ),
        (
            (
                "CREATE TABLE odd (id int PRIMARY KEY, at timestamptz, no int UNIQUE);"
                "CREATE TABLE part (id int PRIMARY KEY, no int REFERENCES odd (no) ON DELETE CASCADE)"
            ),
            "part.no (part_no_fkey) does not refer to the key of odd",
        ),
    ],
)
def test_says_what_of_a_table_has_to_be_thought_through_by_hand(bon_url: str, ddl: str, says: str) -> None:
    with psycopg.connect(bon_url, autocommit=True) as session:
        session.execute(ddl)

    code, said = order(bon_url, table="odd", by="at")

    assert code == 2
    assert says in said
    assert written() == []


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    """Give this checkout a state of its own, whose PostgreSQL ends with the test."""
    made = Local(tmp_path / "local")
    monkeypatch.setattr(Local, "here", classmethod(lambda cls: made))
    monkeypatch.delenv("CHECKTICK_DATABASE_URL", raising=False)
    try:
        yield made
    finally:
        made.postgres.stop()
        shutil.rmtree(made.postgres.home, ignore_errors=True)


@pytest.mark.stack
def test_without_a_database_it_reads_the_schema_of_the_sample_and_leaves_nothing_behind(local: Local) -> None:
    with catalogue_of(CHECKTICK) as (connection, source):
        target = read_target(connection, "surveys_surveyprogress", "expires_at")

    assert "sample" in source
    assert (target.table.key.name, target.by.type_name, target.by.is_required) == ("id", "timestamptz", True)
    with psycopg.connect(local.postgres.url("postgres")) as session:
        assert session.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchone() == (0,)


def test_reads_what_goes_along_and_what_holds(bon_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BON_DATABASE_URL", bon_url)

    with catalogue_of(BON) as (connection, _):
        target = read_target(connection, "invoices", "due_date")

    assert {each.table.name: each.goes_along for each in target.referring} == {
        "invoices": False,
        "invoice_items": True,
        "invoice_payments": True,
        "shaam_audit_log": False,
    }


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of this checkout that uses the same virtual environment."""
    copy = tmp_path / "checkout"
    shutil.copytree(REPOSITORY, copy, ignore=LEFT_OUT, symlinks=True)
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


def run(checkout: Path, *arguments: str, **environ: str) -> str:
    """Run a program there; return what it printed."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("BON_", "PYTEST_", "COV_"))}
    environ = plain | {"PYTHONPATH": str(checkout)} | environ
    done = warm.run(arguments, environ=environ, folder=checkout, modules=warm.COMMAND, timeout=1_000)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(checkout: Path) -> None:
    arguments = ["make", "--old-file", ".venv/.installed", "check"]
    done = subprocess.run(arguments, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.stack
@pytest.mark.timeout(1_200)
def test_what_it_writes_passes_the_whole_check_and_its_own_test(
    checkout: Path, bon_url: str, suite_server: str
) -> None:
    by_timestamp = ("chat_cleanup", "--table", "whatsapp_conversations", "--by", "last_activity_at", "--days", "30")
    by_date = ("invoice_cleanup", "--table", "invoices", "--by", "due_date", "--days", "3650")

    said = [
        run(checkout, PROGRAM, "new-job", "bon", *each, BON_DATABASE_URL=bon_url) for each in (by_timestamp, by_date)
    ]
    listed = run(checkout, PROGRAM, "jobs", "--json")
    check(checkout)
    tests = [f"tests/bon/test_{each[0]}.py" for each in (by_timestamp, by_date)]
    passed = run(checkout, sys.executable, "-m", "pytest", "-q", *tests, TEST_DATABASE_URL=suite_server)

    for path in ("jobs/chat_cleanup.py", "tables.py", "assets.py"):
        assert f"wrote cath_dagster/bon/{path}" in said[0]
    assert "wrote cath_dagster/bon/tables.py" not in said[1]
    assert all(f'"{each[0]}"' in listed for each in (by_timestamp, by_date))
    assert "bon/chat_cleanup  0 4 * * *  team:bon" in (checkout / "docs/jobs.txt").read_text()
    assert "failed" not in passed
