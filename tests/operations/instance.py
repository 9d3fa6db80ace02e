"""An instance as tests of its upkeep see it: small builders for its runs, events and ticks."""

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterRunStatus, EventLogEntry

from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import load_specs
from cath_dagster.operations import OPERATIONS
from cath_dagster.operations.backends import open_backends
from cath_dagster.orchestration.internals.code_servers import GrpcServerCodeLocationOrigin
from cath_dagster.orchestration.internals.instigators import (
    InstigatorState,
    InstigatorType,
    ScheduleInstigatorData,
    SerializableErrorInfo,
    TickStatus,
)
from tests.conftest import SERVER
from tests.support.dagster_internals import (
    EngineEventData,
    InstigatorStatus,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
    SensorInstigatorData,
    SensorType,
    StepMaterializationData,
    TickData,
)
from tests.support.databases import Databases
from tests.support.service import SilentReporter

REPOSITORY = Path(__file__).parents[2]
NOW = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
QUEUE_KEY = "cath_dagster/job"


@contextlib.contextmanager
def open_instance(home: Path, databases: Databases | None = None) -> Iterator["Instance"]:
    """Yield an instance of the repository's dagster.yaml, its storage on the suite's server unless told otherwise."""
    with contextlib.ExitStack() as stack:
        if databases is None:
            databases = Databases(os.environ[SERVER], {})
            stack.callback(databases.drop_templates)
        (home / "dagster.yaml").symlink_to(REPOSITORY / "dagster.yaml")
        url = stack.enter_context(databases.copy())
        instance = stack.enter_context(opened(home, url))
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        connection.execute("SET timezone = 'UTC'")
        yield Instance(home, url, instance, connection)


def opened(home: Path, url: str) -> dg.DagsterInstance:
    """Return the instance; other tests should not find it in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("DAGSTER_POSTGRES_URL", url)
        return dg.DagsterInstance.get()


def location_origin(location: str, port: int = 1) -> RemoteRepositoryOrigin:
    return RemoteRepositoryOrigin(
        GrpcServerCodeLocationOrigin(host="127.0.0.1", port=port, location_name=location), "__repository__"
    )


@dataclass
class Instance:
    home: Path
    url: str
    dagster: dg.DagsterInstance
    connection: psycopg.Connection[Any]

    def wipe(self) -> None:
        tables = self.connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname IN ('public', 'maintenance', 'operations') AND tablename NOT IN ('alembic_version', 'secondary_indexes')"
        ).fetchall()
        # Runs go before the snapshots that they refer to. Deleting is faster than truncating where there is little.
        names = sorted((name for (name,) in tables), key=lambda name: name != "public.runs")
        deletes = "; ".join(f"DELETE FROM {name}" for name in names)
        # A log that only grows has a trigger against this.
        self.connection.execute(f"SET session_replication_role = replica; {deletes}; RESET session_replication_role")

    def value(self, query: str, *parameters: Any) -> Any:
        row = self.connection.execute(query, parameters or None).fetchone()
        assert row is not None
        return row[0]

    def count(self, table: str, condition: str = "true") -> int:
        return int(self.value(f"SELECT count(*) FROM {table} WHERE {condition}"))

    def runs(self) -> set[str]:
        return {run.run_id for run in self.dagster.get_runs()}

    def add_run(
        self,
        job: str = "clear_audit",
        status: DagsterRunStatus = DagsterRunStatus.SUCCESS,
        *,
        location: str = "cath",
        ended_at: datetime = NOW,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
        root: str | None = None,
        events: int = 3,
    ) -> str:
        """Leave a run of a job, ended when it is said, with a few events; return its id."""
        run = dg.DagsterRun(
            job,
            run_id=str(uuid.uuid4()),
            status=status,
            tags={
                QUEUE_KEY: f"{location}/{job}",
                ".dagster/repository": f"__repository__@{location}",
                **({"dagster/parent_run_id": parent} if parent else {}),
                **({"dagster/root_run_id": root or parent} if parent else {}),
                **(tags or {}),
            },
            parent_run_id=parent,
            root_run_id=(root or parent) if parent else None,
            remote_job_origin=RemoteJobOrigin(location_origin(location), job),
        )
        self.dagster.run_storage.add_run(run)
        self.connection.execute(
            "UPDATE runs SET end_time = %s, start_time = %s, update_timestamp = %s, create_timestamp = %s WHERE run_id = %s",
            [
                ended_at.timestamp() if run.is_finished else None,
                (ended_at - timedelta(minutes=1)).timestamp(),
                ended_at,
                ended_at - timedelta(minutes=1),
                run.run_id,
            ],
        )
        for number in range(events):
            self.add_event(
                run, DagsterEventType.ENGINE_EVENT, at=ended_at, message=f"event {number}", data=EngineEventData({})
            )
        return run.run_id

    def add_event(
        self, run: dg.DagsterRun | str, kind: DagsterEventType, *, at: datetime, message: str = "", data: Any = None
    ) -> None:
        run = self.run(run) if isinstance(run, str) else run
        event = DagsterEvent(kind.value, run.job_name, event_specific_data=data, message=message)
        self.dagster.event_log_storage.store_event(
            EventLogEntry(  # type: ignore[no-untyped-call]
                error_info=None,
                level=20,
                user_message=message,
                run_id=run.run_id,
                timestamp=at.timestamp(),
                job_name=run.job_name,
                dagster_event=event,
            )
        )

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.dagster.get_run_by_id(run_id)
        assert run is not None
        return run

    def materialise(self, run_id: str, asset: str, partition: str | None = None, *, at: datetime = NOW) -> None:
        made = dg.AssetMaterialization(dg.AssetKey(["cath", asset]), partition=partition)
        data = StepMaterializationData(made)
        self.add_event(run_id, DagsterEventType.ASSET_MATERIALIZATION, at=at, data=data)
        self.connection.execute(
            "INSERT INTO asset_event_tags (event_id, asset_key, key, value) SELECT max(id), 'k', 'a', 'tag' FROM event_logs"
        )

    def evaluate_check(
        self,
        run_id: str,
        asset: str,
        check: str,
        *,
        passed: bool,
        at: datetime = NOW,
        says: str | None = None,
        subjects: Sequence[str] = (),
    ) -> None:
        done = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(["cath", asset]),
            check_name=check,
            passed=passed,
            metadata={"subjects": list(subjects)} if subjects else {},
            description=says,
        )
        self.add_event(run_id, DagsterEventType.ASSET_CHECK_EVALUATION, at=at, data=done)

    def print_log(self, run_id: str) -> Path:
        """Leave what a step of a run printed; return the file."""
        manager: Any = self.dagster.compute_log_manager
        path = Path(manager.get_captured_local_path([run_id, "compute_logs", "step"], "out"))
        path.parent.mkdir(parents=True)
        path.write_text("printed")
        return path

    def add_tick(
        self,
        name: str,
        status: TickStatus,
        at: datetime,
        *,
        location: str = "cath",
        kind: InstigatorType = InstigatorType.SCHEDULE,
        skip_reason: str | None = None,
        error: str = "it went wrong",
        run_ids: Sequence[str] = (),
    ) -> None:
        origin = RemoteInstigatorOrigin(location_origin(location), name)
        tick = TickData(
            instigator_origin_id=origin.get_id(),
            selector_id=selector_id(origin),
            instigator_name=name,
            instigator_type=kind,
            status=status,
            timestamp=at.timestamp(),
            run_ids=list(run_ids),
            skip_reason=skip_reason,
            error=SerializableErrorInfo(error, [], "RuntimeError") if status is TickStatus.FAILURE else None,
        )
        self.dagster.create_tick(tick)

    def add_schedule(
        self,
        name: str,
        cron: str,
        *,
        location: str = "cath",
        since: datetime = NOW - timedelta(days=365),
        status: InstigatorStatus = InstigatorStatus.DECLARED_IN_CODE,
        port: int = 1,
    ) -> None:
        origin = RemoteInstigatorOrigin(location_origin(location, port), name)
        data = ScheduleInstigatorData(cron, since.timestamp())
        self.dagster.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, status, data))

    def add_instigator(self, name: str, kind: InstigatorType, *, location: str = "cath") -> None:
        """Leave the state of a running schedule or sensor."""
        if kind is InstigatorType.SCHEDULE:
            self.add_schedule(name, "* * * * *", location=location)
            return
        origin = RemoteInstigatorOrigin(location_origin(location), name)
        data = SensorInstigatorData(sensor_type=SensorType.STANDARD)
        self.dagster.add_instigator_state(InstigatorState(origin, kind, InstigatorStatus.DECLARED_IN_CODE, data))


def selector_id(origin: RemoteInstigatorOrigin) -> str:
    return InstigatorState(
        origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, ScheduleInstigatorData("* * * * *")
    ).selector_id


def run_job(instance: Instance, name: str, *, run_id: str | None = None, **config: Any) -> RunResult:
    """Run a job of this location, as of `NOW` unless told otherwise."""
    backends = open_backends(instance.dagster)
    backends.prepare()
    return execute(
        next(spec for spec in load_specs(OPERATIONS) if spec.name == name),
        {"as_of": NOW, **config},
        run_id=run_id or str(uuid.uuid4()),
        now=NOW + timedelta(days=3_650),
        backends=backends,
        reporter=SilentReporter(),
    )


def clean_for_ever() -> None:
    """Run `clean_instance` in a process of its own, until it is killed."""
    backends = open_backends()
    backends.prepare()
    execute(
        next(spec for spec in load_specs(OPERATIONS) if spec.name == "clean_instance"),
        {"as_of": NOW},
        run_id=str(uuid.uuid4()),
        now=NOW + timedelta(days=3_650),
        backends=backends,
        reporter=SilentReporter(),
    )


if __name__ == "__main__":
    clean_for_ever()
