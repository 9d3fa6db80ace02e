"""The services' samples and Dagster's own history, each as a template from which a fresh world is made for every trial."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import psycopg
from psycopg import sql

from benchmarks.kills import remains
from benchmarks.measures import Quiet
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.development.local import REPOSITORY
from cath_dagster.development.postgres import PORT, SUPERUSER, EmbeddedPostgres
from cath_dagster.development.sample import Filling, Sample
from cath_dagster.development.samples import sample_of
from cath_dagster.development.simulators.outside import Outside
from cath_dagster.operations import OPERATIONS

REAL_RUNS, COPIES = 4, 60
"""Runs that Dagster itself has written, and how often each stands in the history, a day older each time."""
COPIED = ("runs", "run_tags", "event_logs")


@dataclass(frozen=True)
class World:
    """One service's database and files as they are before a run, `as_of` the instant at which the sample was made."""

    location: CodeLocation
    cluster: EmbeddedPostgres
    template: str
    files: Path
    as_of: datetime
    newest: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.location.name

    @contextmanager
    def fresh(self, folder: Path) -> Iterator["Trial"]:
        """Yield a copy of it, with everything outside that a job speaks to."""
        database = f"kills_{self.name}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.files, folder / "files")
        copy_database(self.cluster, self.template, database)
        with Outside.listening(notify_log=folder / "notify.jsonl", mail_folder=folder / "mail") as outside:
            yield Trial(self, database, folder / "files", outside)


@dataclass(frozen=True)
class Trial:
    """A world in which a job is run, killed, and run again."""

    world: World
    database: str
    files: Path
    outside: Outside

    @property
    def url(self) -> str:
        return self.world.cluster.url(self.database)

    def environ(self, url: str) -> dict[str, str]:
        """Return what a run is given that reaches the database by `url`."""
        if self.world.location is OPERATIONS:
            return {"DAGSTER_HOME": str(self.files), "DAGSTER_POSTGRES_URL": url}
        stores = sample_of(self.world.location).store_urls(self.files)
        return self.outside.environment() | stores | {f"{self.world.location.prefix}_DATABASE_URL": url}

    def remains(self, run_ids: list[str]) -> remains.Remains:
        """Return what is left by now."""
        return remains.Remains(
            remains.read_tables(self.url, run_ids, self.world.newest),
            remains.read_files(sorted(each for each in self.files.iterdir() if each.is_dir()), run_ids),
            remains.read_mails(self.outside, run_ids),
        )

    def wait_until_alone(self, run_id: str) -> None:
        """Wait until the server has noticed that a run is gone: so long its lock is held."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE '%%' || %s"
        with psycopg.connect(self.world.cluster.url("postgres"), autocommit=True) as admin:
            while admin.execute(query, [self.database, run_id]).fetchone() != (0,):
                admin.execute("SELECT pg_sleep(0.02)")


def make_world(cluster: EmbeddedPostgres, location: CodeLocation, folder: Path, *, scale: float) -> World:
    """Make a location's template anew."""
    as_of = datetime.now(UTC)
    if location is OPERATIONS:
        return _make_history(cluster, folder, as_of)
    return _make_sample(cluster, sample_of(location), folder, as_of, scale)


def copy_database(cluster: EmbeddedPostgres, template: str | None, name: str) -> None:
    """Make a database anew, as a copy of the template if there is one."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        source = (
            sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template)) if template else sql.SQL("")
        )
        admin.execute(sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(name), source))


def _make_sample(cluster: EmbeddedPostgres, sample: Sample, folder: Path, as_of: datetime, scale: float) -> World:
    template, files = f"kills_template_{sample.name}", folder / sample.name
    copy_database(cluster, None, template)
    url = cluster.url(template)
    for name in sample.stores.values():
        (files / name).mkdir(parents=True)
    with psycopg.connect(url) as connection:
        sample.create_schema(connection)
    engine = open_engine(url, variable="sample", application_name="sample")
    migrate(engine, sample.location)
    engine.dispose()
    with psycopg.connect(url) as connection:
        sample.fill(connection, Filling(as_of, scale, files / (sample.files or ""), Quiet()))
    return World(sample.location, cluster, template, files, as_of, remains.read_newest(url))


def _make_history(cluster: EmbeddedPostgres, folder: Path, as_of: datetime) -> World:
    """Let Dagster write some runs, and repeat them into the past, with what they printed."""
    template, files = "kills_template_operations", folder / "operations"
    files.mkdir()
    copy_database(cluster, None, template)
    (files / "dagster.yaml").symlink_to(REPOSITORY / "dagster.yaml")
    url = f"postgresql://{SUPERUSER}@/{template}?host={cluster.home}&port={PORT}"
    with patch.dict("os.environ", {"DAGSTER_HOME": str(files), "DAGSTER_POSTGRES_URL": url}):
        _write_runs(files)
    engine = open_engine(url, variable="sample", application_name="sample")
    migrate(engine, OPERATIONS)
    engine.dispose()
    with psycopg.connect(url) as connection:
        _repeat_into_the_past(connection, as_of)
        ids = [str(run_id) for (run_id,) in connection.execute("SELECT run_id FROM runs").fetchall()]
    for run_id in ids:
        printed = files / "storage" / run_id / "compute_logs" / "step.out"
        printed.parent.mkdir(parents=True, exist_ok=True)
        printed.write_text("printed\n")
    return World(OPERATIONS, cluster, template, files, as_of, remains.read_newest(url))


def _write_runs(home: Path) -> None:
    import dagster as dg

    @dg.op
    def work() -> None: ...

    @dg.job
    def worked() -> None:
        work()

    with dg.DagsterInstance.from_config(str(home)) as instance:
        for _ in range(REAL_RUNS):
            worked.execute_in_process(
                instance=instance, run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
            )


def _repeat_into_the_past(connection: psycopg.Connection, as_of: datetime) -> None:
    connection.execute(
        "CREATE TEMP TABLE copy_of AS SELECT run_id, gen_random_uuid()::text AS copied, n AS days"
        " FROM runs, generate_series(1, %s) AS n",
        [COPIES],
    )
    for table in COPIED:
        names = [
            str(name)
            for (name,) in connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
                " AND attname NOT IN ('id', 'run_id')",
                [table],
            ).fetchall()
        ]
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        connection.execute(
            sql.SQL("INSERT INTO {0} (run_id, {1}) SELECT copied, {1} FROM {0} JOIN copy_of USING (run_id)").format(
                sql.Identifier(table), columns
            )
        )
    connection.execute(
        "UPDATE runs SET end_time = %s - days * 86400, update_timestamp = to_timestamp(%s - days * 86400) AT TIME ZONE 'UTC'"
        " FROM copy_of WHERE copied = runs.run_id",
        [(as_of - timedelta(hours=1)).timestamp()] * 2,
    )
