"""Run the benchmarks and print one table: `make bench`."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks import foreground, purge, report
from benchmarks.audit_log import AuditLog
from benchmarks.cloudmake_drift import measure_drift
from benchmarks.cloudmake_keys import measure_keys
from benchmarks.cloudmake_scan import measure_scan
from benchmarks.cloudmake_servers import measure_servers
from benchmarks.cold_start import measure_cold_start
from benchmarks.console import measure_console
from benchmarks.foreign_key import measure_foreign_key
from benchmarks.measures import Ratio, Say
from benchmarks.overdue import measure_overdue
from benchmarks.peers import measure_peers
from benchmarks.surveys import measure_progress, measure_surveys
from benchmarks.tokens import measure_tokens
from cath_dagster.development.local import REPOSITORY, forget_outside
from cath_dagster.development.postgres import EmbeddedPostgres, embedded_postgres, remove_state, running

SERVER_SETTINGS = {
    "shared_buffers": "'1GB'",
    "max_wal_size": "'8GB'",
    "autovacuum": "off",
    "checkpoint_timeout": "'1h'",
}
"""A small server's; nothing of its own accord comes between two rounds."""
SIZES = (500_000, 1_000_000, 2_000_000, 5_000_000)
FOREGROUND_ROWS = 2_000_000
PEERS_ROWS = 500_000
"""A loop with LIMIT is quadratic, and an ORM takes a minute for more."""
INVOICES = 1_250_000
PEERS_ROUNDS = 3


def main() -> int:
    """Measure, print, and return 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="which ones; all of them unless told")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds; the median counts")
    parser.add_argument("--publish", action="store_true", help="write the purge suite's results into docs/")
    given = parser.parse_args()
    forget_outside()
    out = Console(highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="cath-dagster-bench-"))
    cluster = embedded_postgres(folder, "pg", SERVER_SETTINGS)
    publish = REPOSITORY / "docs" if given.publish else None
    try:
        with running(cluster):
            out.print(_server(cluster))
            ratios = [
                ratio
                for name in given.suites or SUITES
                for ratio in SUITES[name](cluster, given.rounds, out.print, publish)
            ]
    finally:
        remove_state(folder)
    out.print(_table(ratios))
    return 0 if all(ratio.is_met for ratio in ratios) else 1


def _purge(cluster: EmbeddedPostgres, rounds: int, say: Say, publish: Path | None) -> Iterator[Ratio]:
    sizes = list(purge.measure_sizes(cluster, SIZES, rounds=rounds, say=say))
    log = AuditLog.make(cluster, FOREGROUND_ROWS)
    # A percentile of some hundred transactions differs more from round to round than the time of a million rows.
    measured = list(foreground.measure_foreground(log, rounds=2 * rounds + 1, say=say))
    log.drop()
    alone = next(median(size.one_delete) for size in sizes if size.rows == FOREGROUND_ROWS)
    ratios = [*purge.ratios(sizes), *foreground.ratios(measured, alone)]
    suite = report.PurgeSuite(
        server=_server(cluster),
        sizes=sizes,
        foreground=measured,
        foreground_rows=FOREGROUND_ROWS,
        peers=list(measure_peers(AuditLog.make(cluster, PEERS_ROWS), rounds=PEERS_ROUNDS, say=say)),
        peers_rows=PEERS_ROWS,
        foreign_key=measure_foreign_key(cluster, say=say),
    )
    if publish is not None:
        report.write(suite, ratios, publish)
    yield from ratios


def _cold_start(cluster: EmbeddedPostgres, rounds: int, say: Say, publish: Path | None) -> Iterator[Ratio]:
    del publish
    yield from measure_cold_start(cluster, rounds=rounds, say=say)


def _surveys(cluster: EmbeddedPostgres, rounds: int, say: Say, publish: Path | None) -> Iterator[Ratio]:
    del publish
    yield from measure_surveys(cluster, rounds=rounds, say=say)
    yield from measure_progress(cluster, rounds=rounds, say=say)


def _marking(cluster: EmbeddedPostgres, rounds: int, say: Say, publish: Path | None) -> Iterator[Ratio]:
    del publish
    # A round takes minutes; three tell enough.
    yield from measure_overdue(cluster, rows=INVOICES, rounds=min(3, rounds), say=say)


def _tokens(cluster: EmbeddedPostgres, rounds: int, say: Say, publish: Path | None) -> Iterator[Ratio]:
    del publish
    yield from measure_tokens(cluster, rounds=rounds, say=say)


def _drift(cluster: EmbeddedPostgres, rounds: int, say: Say, publish: Path | None) -> Iterator[Ratio]:
    del publish
    yield from measure_drift(cluster, rounds=rounds, say=say)


def _servers(cluster: EmbeddedPostgres, rounds: int, say: Say, publish: Path | None) -> Iterator[Ratio]:
    del publish
    yield from measure_servers(cluster, rounds=rounds, say=say)


def _keys(cluster: EmbeddedPostgres, rounds: int, say: Say, publish: Path | None) -> Iterator[Ratio]:
    # On a server of its own: the embedded one has no pgcrypto.
    del cluster, publish
    yield from measure_keys(rounds=min(3, rounds), say=say)


def _scan(cluster: EmbeddedPostgres, rounds: int, say: Say, publish: Path | None) -> Iterator[Ratio]:
    del cluster, publish
    yield from measure_scan(rounds=rounds, say=say)


def _console(cluster: EmbeddedPostgres, rounds: int, say: Say, publish: Path | None) -> Iterator[Ratio]:
    del publish
    yield from measure_console(cluster, rounds=rounds, say=say)


SUITES: dict[str, Callable[[EmbeddedPostgres, int, Say, Path | None], Iterator[Ratio]]] = {
    "purge": _purge,
    "cold_start": _cold_start,
    "surveys": _surveys,
    "marking": _marking,
    "tokens": _tokens,
    "drift": _drift,
    "servers": _servers,
    "keys": _keys,
    "scan": _scan,
    "console": _console,
}


def _server(cluster: EmbeddedPostgres) -> str:
    with psycopg.connect(cluster.url("postgres")) as connection:
        row = connection.execute("SELECT current_setting('server_version')").fetchone()
    settings = ", ".join(f"{name} {value.strip(chr(39))}" for name, value in SERVER_SETTINGS.items())
    return f"PostgreSQL {row[0] if row else '?'}, {os.cpu_count()} cores, {settings}."


def _table(ratios: list[Ratio]) -> Table:
    table = Table()
    table.add_column("measure", min_width=30)
    for name in ("ours", "beside it", "result", "goal", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for ratio in ratios:
        table.add_row(
            ratio.name, ratio.ours, ratio.beside, ratio.result, ratio.goal, "met" if ratio.is_met else "missed"
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
