"""One trial: start a job, kill it at an instant, run it again until it is done, and judge what is left."""

import enum
import multiprocessing
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psycopg

from benchmarks.kills.comparison import compare
from benchmarks.kills.proxy import Proxy
from benchmarks.kills.remains import Remains, Volatile, find_volatile
from benchmarks.kills.worker import BEGINS, Answer, Request, run
from benchmarks.kills.worlds import Trial, World
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.development.postgres import PORT, SUPERUSER

RUN_SECONDS = 120.0
AGAIN = 0.2
"""How often the second attempt is killed as well."""
_CONTEXT = multiprocessing.get_context("forkserver")


class Kind(enum.StrEnum):
    """What is killed."""

    PROCESS = "process"
    BACKEND = "backend"
    CONNECTION = "connection"


@dataclass(frozen=True)
class Judgement:
    """What one trial showed. `faults` are what must not be; the counts are what nobody could have told apart."""

    kills: tuple[Kind, ...]
    runs: int
    faults: tuple[str, ...] = ()
    repeated: int = 0
    """Mails that went twice under one Message-ID: whether the first had gone could not be found out."""
    given_up: int = 0
    """Mails that may have gone and were not sent again, as a digest is not."""


@dataclass(frozen=True)
class Running:
    """A run under way in a process of its own."""

    run_id: str
    process: ForkServerProcess
    pipe: Connection

    @property
    def is_over(self) -> bool:
        """Whether it has told how it ended."""
        return self.pipe.poll()

    def wait(self) -> Answer | None:
        """Return how the run ended; None if it was killed."""
        try:
            if not self.pipe.poll(RUN_SECONDS):
                return Answer("hanging", f"after {RUN_SECONDS:.0f} s", RUN_SECONDS)
            answer: Answer = self.pipe.recv()
        except EOFError:
            return None
        self.process.join()
        return answer


@dataclass(frozen=True)
class Bench:
    """One job in its world, with what an undisturbed run leaves and how long it takes."""

    world: World
    spec: JobSpec
    folder: Path
    chance: random.Random = field(default_factory=random.Random)

    @cached_property
    def undisturbed(self) -> tuple[Remains, Volatile, float]:
        """Run it twice without any harm; what differs between the two does so by itself."""
        found = []
        for _ in range(2):
            with self.world.fresh(self.folder) as trial, self._running(trial, trial.url) as running:
                answer = running.wait()
                if answer is None or answer.status != "success":
                    raise RuntimeError(f"{self.spec.key} fails undisturbed: {answer and answer.error}")
                found.append((trial.remains([running.run_id]), answer.seconds))
        (one, _), (other, seconds) = found
        return one, find_volatile(one, other), seconds

    def try_once(self, kind: Kind) -> Judgement | None:
        """Kill a run at a random instant and judge what the next ones make of it; None if it had ended by itself."""
        expected, volatile, seconds = self.undisturbed
        with self.world.fresh(self.folder) as trial, Proxy(self._socket) as proxy:
            url = proxy.url(trial.database, SUPERUSER)
            run_ids, kills = [], []
            answer: Answer | None = None
            for attempt in range(4):
                is_harmed = attempt == 0 or (attempt == 1 and self.chance.random() < AGAIN)
                with self._running(trial, url) as running:
                    run_ids.append(running.run_id)
                    if is_harmed and self._harm(kind, running, trial, proxy, self.chance.uniform(0, seconds)):
                        kills.append(kind)
                    answer = running.wait()
                trial.wait_until_alone(running.run_id)
                if not kills:
                    return None
                if not is_harmed and answer is not None and answer.status == "success":
                    break
            found = trial.remains(run_ids)
        ended = [] if answer and answer.status == "success" else [f"the last run ended {answer}"]
        difference = compare(expected, found, volatile)
        faults = (*ended, *difference.faults)
        return Judgement(tuple(kills), len(run_ids), faults, difference.repeated, difference.given_up)

    @contextmanager
    def _running(self, trial: Trial, url: str) -> Iterator[Running]:
        """Start a run, and yield it when it begins."""
        run_id = str(uuid.uuid4())
        hears, tells = _CONTEXT.Pipe(duplex=False)
        request = Request(self.spec.key, run_id, self.world.as_of, trial.environ(url))
        process = _CONTEXT.Process(target=run, args=(request, tells), daemon=True)
        process.start()
        tells.close()
        try:
            if hears.recv() != BEGINS:
                raise RuntimeError(f"{self.spec.key} did not begin")
            yield Running(run_id, process, hears)
        finally:
            process.kill()
            process.join()
            hears.close()

    def _harm(self, kind: Kind, running: Running, trial: Trial, proxy: Proxy, after: float) -> bool:
        """Do the harm; return whether the run was still under way."""
        time.sleep(after)
        if running.is_over:
            return False
        if kind is Kind.PROCESS:
            running.process.kill()
            return True
        if kind is Kind.CONNECTION:
            return proxy.cut() > 0
        query = (
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = %s AND application_name LIKE '%%' || %s"
        )
        with psycopg.connect(trial.world.cluster.url("postgres"), autocommit=True) as admin:
            ended = admin.execute(query, [trial.database, running.run_id]).fetchone()
        return ended is not None and ended[0] > 0

    @property
    def _socket(self) -> Path:
        return self.world.cluster.home / f".s.PGSQL.{PORT}"
