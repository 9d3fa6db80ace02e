"""A console as tests see it: on a real instance's database, with an orchestrator that we play."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import sqlalchemy as sa
from dagster import DagsterRunStatus
from fastapi import FastAPI
from fastapi.testclient import TestClient

from cath_dagster.core.history.tables import scheduled_job, scheduled_job_history
from cath_dagster.core.ports.orchestrator import OrchestratorError
from cath_dagster.registry import all_specs
from cath_dagster.web import tokens
from cath_dagster.web.app import create_app
from cath_dagster.web.console import Console
from cath_dagster.web.rights import EVERYWHERE, Kind, Principal, Role
from cath_dagster.web.settings import ConsoleSettings, parse_networks
from tests.operations.instance import Instance

PROXY = "10.9.8.7"
STRANGER = "203.0.113.9"
SIGN_IN_CODE = "made-up-code"
ROLES = {
    **{f"cath-{role}": {"cath": role} for role in Role},
    **{f"all-{role}": {EVERYWHERE: role} for role in Role},
    "split": {"cath": Role.VIEWER, "bon": Role.OPERATOR},
}
SETTINGS = ConsoleSettings(
    database_url="postgresql://nobody@nowhere/none",
    dagster_url="http://127.0.0.1:9",
    roles=ROLES,
    trusted_proxies=parse_networks("10.9.0.0/16"),
    sign_in_code=SIGN_IN_CODE,
    ui_url="https://dagster.example.org",
)
ROOT = Principal(actor="root", kind=Kind.PERSON, roles={EVERYWHERE: Role.ADMIN}, origin="test")


@dataclass
class FakeOrchestrator:
    """Does as Dagster does, at once: what is launched is queued in the instance."""

    instance: Instance
    launched: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    toggled: list[tuple[str, str, bool, bool]] = field(default_factory=list)
    error: OrchestratorError | None = None
    loses_answers: bool = False
    """Whether it does what it is asked for and its answer is lost."""
    on_launch: Any = None

    def launch(self, location: str, job: str, *, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        if self.error is not None and not self.loses_answers:
            raise self.error
        run_id = self.instance.add_run(job, DagsterRunStatus.QUEUED, location=location, tags=dict(tags), events=0)
        self.launched.append({"job": f"{location}/{job}", "config": dict(config), "tags": dict(tags), "run_id": run_id})
        if self.on_launch is not None:
            self.on_launch(run_id, config)
        if self.error is not None:
            raise self.error
        return run_id

    def cancel(self, run_id: str) -> None:
        if self.error is not None:
            raise self.error
        self.cancelled.append(run_id)

    def set_enabled(self, location: str, ticker: str, *, is_sensor: bool, enabled: bool) -> None:
        if self.error is not None:
            raise self.error
        self.toggled.append((location, ticker, is_sensor, enabled))

    def is_alive(self) -> bool:
        return self.error is None


@dataclass
class World:
    """A console and what is around it."""

    instance: Instance
    orchestrator: FakeOrchestrator
    console: Console
    proxy: TestClient
    """Requests from the socket of a trusted proxy."""
    stranger: TestClient
    """Requests from anywhere else."""
    local: TestClient
    """Requests from this machine."""
    at: list[datetime]

    @property
    def now(self) -> datetime:
        return self.at[0]

    def later(self, by: timedelta) -> None:
        self.at[0] += by

    def ask(
        self, method: str, path: str, *, user: str = "ada", groups: str = "all-admin", **arguments: Any
    ) -> httpx2.Response:
        """Send a request as somebody whom the proxy names."""
        headers = {"X-Forwarded-User": user, "X-Forwarded-Groups": groups, **arguments.pop("headers", {})}
        return self.proxy.request(method, path, headers=headers, **arguments)

    def token(
        self, role: Role = Role.ADMIN, *locations: str, name: str = "ci", expires_at: datetime | None = None
    ) -> str:
        """Make a token; return it."""
        with self.console.engine.begin() as connection:
            return tokens.create(
                connection,
                ROOT,
                name,
                role=role,
                locations=locations or (EVERYWHERE,),
                expires_at=expires_at,
                now=self.now,
            ).token

    def add_job(self, job: str, location: str = "cath", **values: Any) -> None:
        """Register a job, as the monitor does."""
        self._insert(scheduled_job, location=location, name=job, **values)

    def add_history(
        self,
        job: str = "clear_audit",
        *,
        location: str = "cath",
        run_id: str | None = "",
        status: str = "success",
        started_at: datetime | None = None,
        **values: Any,
    ) -> str:
        """Leave a run's row, of ticks that were skipped without a run; return the run's id."""
        started_at = started_at or self.now - timedelta(hours=1)
        number = self.instance.count("operations.scheduled_job_history")
        run_id = f"00000000-0000-4000-8000-{number:012}" if run_id == "" else run_id
        if not self.instance.count("operations.scheduled_job", f"location = '{location}' AND name = '{job}'"):
            self.add_job(job, location)
        ended = {} if status == "running" else {"completed_at": started_at + timedelta(seconds=2), "duration_ms": 2_000}
        given: dict[str, Any] = {"trigger": "schedule", **ended, **values}
        self._insert(
            scheduled_job_history,
            location=location,
            job=job,
            run_id=run_id,
            status=status,
            started_at=started_at,
            **given,
        )
        return run_id or ""

    def audit(self) -> list[tuple[str, str]]:
        """Return what the audit log says: actions and results, the oldest first."""
        return self.instance.connection.execute(
            "SELECT action, result FROM operations.audit_log ORDER BY sequence"
        ).fetchall()

    def _insert(self, table: sa.Table, **values: Any) -> None:
        with self.console.engine.begin() as connection:
            connection.execute(sa.insert(table).values(**values))


def client_of(app: FastAPI, peer: str, *, raises: bool = True) -> TestClient:
    """Return a client whose requests come from an address."""
    return TestClient(app, client=(peer, 50_000), follow_redirects=False, raise_server_exceptions=raises)


@contextmanager
def open_world(instance: Instance, engine: sa.Engine) -> Iterator[World]:
    """Yield a console on an instance's database; its clock stands still until a test moves it."""
    at = [datetime.now(UTC).replace(microsecond=0)]
    orchestrator = FakeOrchestrator(instance)
    specs = {spec.key: spec for spec in all_specs()}
    console = Console(SETTINGS, engine, orchestrator, lambda: at[0], specs)
    app = create_app(console)
    proxy, stranger, local = (client_of(app, peer) for peer in (PROXY, STRANGER, "127.0.0.1"))
    yield World(instance, orchestrator, console, proxy, stranger, local, at)
