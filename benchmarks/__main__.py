"""Run every benchmark and print one table: `make bench`."""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.cold_start import measure_cold_start
from benchmarks.measures import Ratio, Say
from benchmarks.overdue import measure_overdue
from benchmarks.purge import measure_purge
from benchmarks.tokens import measure_tokens
from cath_dagster.development.local import forget_outside
from cath_dagster.development.postgres import EmbeddedPostgres, embedded_postgres, remove_state, running

MEASURES = ("purge", "cold-start", "marking", "tokens")
SERVER_SETTINGS = {
    "shared_buffers": "'1GB'",
    "max_wal_size": "'8GB'",
    "autovacuum": "off",
    "checkpoint_timeout": "'1h'",
}


def main() -> int:
    """Measure, print, and return 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the table that is purged")
    parser.add_argument("--invoices", type=int, default=1_250_000, help="rows of the table that is marked")
    parser.add_argument(
        "--only", choices=MEASURES, action="append", help="measure only this; may be given several times"
    )
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds; the median counts")
    given = parser.parse_args()
    forget_outside()
    out = Console(highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="cath-dagster-bench-"))
    cluster = embedded_postgres(folder, "pg", SERVER_SETTINGS)
    try:
        with running(cluster):
            out.print(f"PostgreSQL on this machine: {', '.join(f'{k}={v}' for k, v in SERVER_SETTINGS.items())}")
            chosen = given.only or MEASURES
            ratios = [ratio for name in chosen for ratio in _measure(name, cluster, given, out.print)]
    finally:
        remove_state(folder)
    out.print(_table(ratios))
    return 0 if all(ratio.is_met for ratio in ratios) else 1


def _measure(name: str, cluster: EmbeddedPostgres, given: argparse.Namespace, say: Say) -> list[Ratio]:
    match name:
        case "purge":
            return list(measure_purge(cluster, rows=given.rows, rounds=given.rounds, say=say))
        case "cold-start":
            return list(measure_cold_start(cluster, rounds=given.rounds, say=say))
        case "marking":
            # A round takes a minute; three tell enough.
            return list(measure_overdue(cluster, rows=given.invoices, rounds=min(3, given.rounds), say=say))
        case _:
            return list(measure_tokens(cluster, rounds=given.rounds, say=say))


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
