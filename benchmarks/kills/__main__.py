"""Kill the jobs and print one table: `python -m benchmarks.kills`."""

import argparse
import logging
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks.kills.account import Account, as_markdown, as_table
from benchmarks.kills.trial import Bench, Judgement, Kind
from benchmarks.kills.worker import SPECS
from benchmarks.kills.worlds import make_world
from cath_dagster.development.local import REPOSITORY, forget_outside
from cath_dagster.development.postgres import EmbeddedPostgres, running

SERVER_SETTINGS = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
"""What is killed is never the machine: the disk need not be waited for."""
SCALE = 0.05
ONLY_LOOKS = ("operations/self_check", "hay/orchestrator_watch")
"""They change nothing; the first finds nothing healthy without a whole instance."""
AGAINST_COUNTERPARTS = "cloudmake"
"""The location whose jobs are killed by tests of their own: beside keys, servers and providers that are not here."""
WORKER = "benchmarks.kills.worker"
LIBRARIES = (
    "babel.numbers",
    "cath_dagster.adapters.oauth",
    "cath_dagster.orchestration.storage",
    "dagster_postgres",
    "jinja2",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "notifications_python_client.notifications",
    "obstore.store",
    "stringprep",
)
"""What jobs import when they come to it: it is there before, since a kill shall meet the job and not its imports."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill as often as is asked, print the table, and return 1 if anything was lost, doubled or sent twice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="how many in all, spread evenly over the jobs")
    parser.add_argument("--jobs", nargs="*", choices=jobs(), metavar="LOCATION/JOB", help="which ones; all unless told")
    parser.add_argument("--seed", type=int, default=None, help="draws the same instants again")
    parser.add_argument("--scale", type=float, default=SCALE, help="of the samples")
    parser.add_argument("--publish", action="store_true", help="write docs/reliability.md")
    given = parser.parse_args(arguments)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    out = Console(highlight=False)
    out.print(f"seed {seed}")
    started = time.monotonic()
    with benches(given.jobs or jobs(), random.Random(seed), scale=given.scale) as opened:
        accounts = [_kill(bench, given.kills, len(opened), out.print) for bench in opened]
    minutes = (time.monotonic() - started) / 60
    out.print(as_table(accounts))
    out.print(f"{minutes:.0f} minutes")
    if given.publish:
        (REPOSITORY / "docs/reliability.md").write_text(as_markdown(accounts), encoding="utf-8")
    return 1 if any(account.faults for account in accounts) else 0


def jobs() -> list[str]:
    """Return every job of every location that changes anything."""
    return [key for key in SPECS if key not in ONLY_LOOKS and not key.startswith(f"{AGAINST_COUNTERPARTS}/")]


@contextmanager
def benches(keys: Sequence[str], chance: random.Random, *, scale: float) -> Iterator[list[Bench]]:
    """Yield the jobs, each with its world, on a server of their own."""
    forget_outside()
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    multiprocessing.get_context("forkserver").set_forkserver_preload([WORKER, *LIBRARIES])
    folder = Path(tempfile.mkdtemp(prefix="cath-dagster-kills-", dir=_memory()))
    # The server of a run as root has another user, who must come to its own folder.
    folder.chmod(0o711)
    cluster = EmbeddedPostgres(folder / "pg", SERVER_SETTINGS)
    try:
        with running(cluster):
            locations = {SPECS[key].location.name: SPECS[key].location for key in keys}
            worlds = {name: make_world(cluster, location, folder, scale=scale) for name, location in locations.items()}
            yield [Bench(worlds[SPECS[key].location.name], SPECS[key], folder / "trial", chance) for key in keys]
    finally:
        shutil.rmtree(folder)


def _memory() -> str | None:
    """Return a folder that lies in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _kill(bench: Bench, kills: int, share: int, say: Callable[[str], None]) -> Account:
    """Kill one job for its share of the kills, each kind in turn."""
    judged: list[Judgement] = []
    wanted, done, missed = -(-kills // share), Counter[Kind](), 0
    while done.total() < wanted:
        kind = min(Kind, key=lambda each: done[each])
        judgement = bench.try_once(kind)
        if judgement is None:
            missed += 1
            continue
        done.update(judgement.kills)
        judged.append(judgement)
        for fault in judgement.faults:
            say(f"{bench.spec.key}, {kind} killed: {fault}")
    account = Account.of(bench.spec.key, judged)
    say(f"{account.job}: {account.kills.total()} kills, {len(account.faults)} faults ({' | '.join(account.cells)})")
    return account


if __name__ == "__main__":
    sys.exit(main())
