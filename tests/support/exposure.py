"""Makes a job fail by the command line and in Dagster, and keeps all that came to light: what it printed, what Dagster and
the ledger have of it, and what it sent as telemetry.
"""

import atexit
import base64
import json
import logging
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest

from tests.bon.bon import KEY
from tests.support.collector import Collector
from tests.support.command import call_process
from tests.support.dagster_internals import ReconstructableRepository
from tests.support.maintained import Maintained
from tests.support.servers import memory
from tests.support.warm import TELEMETRY

WORD = "Pl4nted"
"""Part of every secret, so that a piece of one is found as well."""
ACCOUNT_KEY = base64.b64encode(f"{WORD}-account-key".encode()).decode()
NOTIFY_SECRET = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff"
MAIL_SERVER = "mail.log"
"""The logger of the mail server that a scenario starts in this process."""


@dataclass
class Exposure:
    """Runs a job that must fail, by the command line and in Dagster, and keeps all that came to light."""

    folder: Path
    capfd: pytest.CaptureFixture[str]
    caplog: pytest.LogCaptureFixture
    monkeypatch: pytest.MonkeyPatch
    collector: Collector
    said: list[str] = field(default_factory=list)

    def fail(self, maintained: Maintained, job: str, **config: object) -> None:
        maintained.environ |= self.collector.otlp
        self._by_command(maintained, "run", job, "--as-of", maintained.as_of.isoformat(), "--json")
        self._in_dagster(maintained, job, {"as_of": maintained.as_of.isoformat(), **config})
        self._in_database(maintained)
        traces = self.collector.named(f"{maintained.location.name}/{job}")
        assert len(traces) == 2, "not both runs have sent their trace"

    def assert_silent(self, *secrets: str) -> None:
        # Texts lie in a request of OTLP as they are, between bytes that say how long they are.
        sent = [body.decode(errors="replace") for _, body in self.collector.posted]
        everything = "\n".join([*self.said, *sent])
        assert len(everything) > 1_000, "nothing was kept"
        for secret in (WORD, NOTIFY_SECRET, KEY, ACCOUNT_KEY, *secrets):
            for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
                at = everything.casefold().find(form.casefold())
                assert at < 0, everything[max(0, at - 200) : at + 200]

    def _by_command(self, maintained: Maintained, *arguments: str) -> None:
        done = call_process(maintained.environ, *arguments, modules=TELEMETRY)
        assert done.returncode in (1, 2), done.stdout
        self.said += [done.stdout, done.stderr]

    def _in_dagster(self, maintained: Maintained, job: str, config: dict[str, object]) -> None:
        for name, value in maintained.environ.items():
            self.monkeypatch.setenv(name, value)
        home = self.folder / "dagster"
        shutil.copytree(_new_home(), home, dirs_exist_ok=True)
        code = ReconstructableRepository.for_module(f"cath_dagster.{maintained.location.name}.definitions", "defs")
        with (
            self.caplog.at_level(logging.DEBUG),
            dg.instance_for_test(temp_dir=str(home), set_dagster_home=False) as instance,
        ):
            result = dg.execute_job(code.get_reconstructable_job(job), instance, run_config=config)
            assert not result.success
            run = instance.get_run_by_id(result.run_id)
            assert run is not None
            self.said += [str(run), str(run.run_config), str(run.tags)]
            self.said += [f"{entry}\n{entry.user_message}" for entry in instance.all_logs(result.run_id)]
            self.said += [path.read_bytes().decode(errors="replace") for path in home.rglob("*") if path.is_file()]
        self.said += [
            f"{each.getMessage()} {each.exc_text}" for each in self.caplog.records if each.name != MAIL_SERVER
        ]
        self.said += self.capfd.readouterr()

    def _in_database(self, maintained: Maintained) -> None:
        for table in ("ledger_event", "sent_notice", "file_outbox", "deleted_key", "restored_row"):
            self.said += [
                str(row) for row in maintained.rows(f"SELECT row_to_json(r)::text FROM maintenance.{table} r")
            ]


@cache
def _new_home() -> Path:
    """Return the home of an instance that no run was in: to make its tables takes longer than a run."""
    home = Path(tempfile.mkdtemp(prefix="cath-dagster-home-", dir=memory()))
    atexit.register(shutil.rmtree, home)
    with dg.instance_for_test(temp_dir=str(home), set_dagster_home=False):
        return home
