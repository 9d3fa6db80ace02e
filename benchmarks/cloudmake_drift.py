"""Compare the schema of many tables with its declaration by `spec_drift`, beside pg_dump of the same schema."""

import json
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.databases import create_database
from benchmarks.measures import BenchmarkError, Quiet, Ratio, Say, at_most
from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.drift import expressions
from cath_dagster.cloudmake.jobs.spec_drift import SPEC
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.run.execution import execute
from cath_dagster.development.local import REPOSITORY
from cath_dagster.development.postgres import EmbeddedPostgres
from cath_dagster.development.samples.cloudmake.sample import create_schema

DATABASE = "bench_drift"
TABLES = 400
GOAL = 2.0
# Of each table ten columns, a foreign key, a check, a unique key, two indexes.
CREATE = """
CREATE TABLE bench_{0} (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), parent uuid, name varchar(64) NOT NULL, kind text NOT NULL DEFAULT 'draft',
    amount numeric(10, 2) DEFAULT '0', tags text[] NOT NULL DEFAULT '{{}}', data jsonb DEFAULT '{{}}'::jsonb,
    is_live boolean NOT NULL DEFAULT false, created_at timestamp NOT NULL DEFAULT now(), updated_at timestamptz,
    CONSTRAINT bench_{0}_name UNIQUE (name), CONSTRAINT bench_{0}_amount CHECK (amount >= 0 AND kind IN ('draft', 'final'))
);
CREATE INDEX bench_{0}_kind ON bench_{0} (kind, created_at);
CREATE INDEX bench_{0}_live ON bench_{0} (lower(name)) WHERE is_live;
ALTER TABLE bench_{0} ADD CONSTRAINT bench_{0}_parent FOREIGN KEY (parent) REFERENCES bench_{1} (id) ON DELETE CASCADE;
"""


def measure_drift(cluster: EmbeddedPostgres, *, rounds: int, say: Say) -> Iterator[Ratio]:
    """Yield how long a run takes that compares the schema alone, beside pg_dump --schema-only."""
    say(f"drift: {TABLES} tables of ten columns, {rounds} rounds")
    url = _make(cluster)
    with tempfile.TemporaryDirectory(prefix="cath-dagster-bench-drift-") as folder:
        (Path(folder) / "meta").mkdir()
        (Path(folder) / "meta" / "0000_snapshot.json").write_text(json.dumps(_snapshot()))
        # The first of each reads the catalogue into the server's memory.
        times = [(_run(url, folder), _dump(cluster, url)) for _ in range(rounds + 1)][1:]
    yield at_most(f"spec_drift of {TABLES} tables (pg_dump --schema-only)", times, goal=GOAL)


def _make(cluster: EmbeddedPostgres) -> str:
    create_database(cluster, DATABASE, "template1")
    url = cluster.url(DATABASE)
    with psycopg.connect(url, autocommit=True) as connection:
        create_schema(connection)
        for number in range(TABLES):
            connection.execute(CREATE.format(number, max(0, number - 1)).encode())
    engine = open_engine(url, variable="bench", application_name="bench")
    migrate(engine, CLOUDMAKE)
    engine.dispose()
    return url


def _run(url: str, folder: str) -> float:
    # A scheduled run begins in a process of its own, which has seen no expression yet.
    expressions.forget()
    started = time.perf_counter()
    result = execute(
        SPEC,
        {"sources": "schema"},
        run_id=str(uuid.uuid4()),
        now=datetime.now(UTC),
        backends=EnvironmentBackends("CLOUDMAKE", {"CLOUDMAKE_DATABASE_URL": url, "CLOUDMAKE_MIGRATIONS_PATH": folder}),
        reporter=Quiet(),
    )
    seconds = time.perf_counter() - started
    changed = [outcome.details.get("changed") for outcome in result.outcomes if outcome.target == "spec:schema"]
    if result.status is not Status.SUCCESS or changed != [0]:
        raise BenchmarkError(f"the schema was not compared as it should be: {result.error}, {changed}")
    return seconds


def _dump(cluster: EmbeddedPostgres, url: str) -> float:
    command = [str(cluster.bin / "pg_dump"), "--schema-only", "--file", "/dev/null", url]
    started = time.perf_counter()
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return time.perf_counter() - started


def _snapshot() -> dict[str, Any]:
    """Return the declaration of the tables, as drizzle-kit writes it."""
    tables = {f"public.bench_{number}": _table(number) for number in range(TABLES)}
    return {"version": "7", "dialect": "postgresql", "tables": tables, "enums": {}, "schemas": {}}


def _table(number: int) -> dict[str, Any]:
    name = f"bench_{number}"
    return {
        "name": name,
        "schema": "",
        "columns": {column["name"]: column for column in _columns()},
        "indexes": {
            f"{name}_kind": _index(f"{name}_kind", "kind", "created_at"),
            f"{name}_live": {
                **_index(f"{name}_live", "lower(name)"),
                "columns": [{"expression": 'lower("name")', "isExpression": True, "asc": True, "nulls": "last"}],
                "where": f'"{name}"."is_live"',
            },
        },
        "foreignKeys": {
            "parent": {
                "name": f"{name}_parent",
                "tableFrom": name,
                "tableTo": f"bench_{max(0, number - 1)}",
                "columnsFrom": ["parent"],
                "columnsTo": ["id"],
                "onDelete": "cascade",
                "onUpdate": "no action",
            }
        },
        "compositePrimaryKeys": {},
        "uniqueConstraints": {"name": {"name": f"{name}_name", "nullsNotDistinct": False, "columns": ["name"]}},
        "policies": {},
        "checkConstraints": {
            "amount": {"name": f"{name}_amount", "value": f'"{name}"."amount" >= 0 and "{name}"."kind" in (\'draft\', \'final\')'}
        },
        "isRLSEnabled": False,
    }  # fmt: skip


def _columns() -> Iterator[dict[str, Any]]:
    for name, kind, is_required, default in (
        ("id", "uuid", True, "gen_random_uuid()"),
        ("parent", "uuid", False, None),
        ("name", "varchar(64)", True, None),
        ("kind", "text", True, "'draft'"),
        ("amount", "numeric(10, 2)", False, "'0'"),
        ("tags", "text[]", True, "'{}'"),
        ("data", "jsonb", False, "'{}'::jsonb"),
        ("is_live", "boolean", True, False),
        ("created_at", "timestamp", True, "now()"),
        ("updated_at", "timestamp with time zone", False, None),
    ):
        column = {"name": name, "type": kind, "primaryKey": name == "id", "notNull": is_required}
        yield column if default is None else {**column, "default": default}


def _index(name: str, *columns: str) -> dict[str, Any]:
    keys = [{"expression": column, "isExpression": False, "asc": True, "nulls": "last"} for column in columns]
    return {"name": name, "columns": keys, "isUnique": False, "method": "btree", "with": {}}
