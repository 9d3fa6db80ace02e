"""Run every benchmark and print one table: `make bench`."""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.cold_start import measure_cold_start
from benchmarks.measures import Ratio
from benchmarks.purge import measure_purge
from cath_dagster.development.local import forget_outside
from cath_dagster.development.postgres import embedded_postgres, remove_state, running

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
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds; the median counts")
    given = parser.parse_args()
    forget_outside()
    out = Console(highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="cath-dagster-bench-"))
    cluster = embedded_postgres(folder, "pg", SERVER_SETTINGS)
    try:
        with running(cluster):
            out.print(f"PostgreSQL on this machine: {', '.join(f'{k}={v}' for k, v in SERVER_SETTINGS.items())}")
            ratios = [
                *measure_purge(cluster, rows=given.rows, rounds=given.rounds, say=out.print),
                *measure_cold_start(cluster, rounds=given.rounds, say=out.print),
            ]
    finally:
        remove_state(folder)
    out.print(_table(ratios))
    return 0 if all(ratio.is_met for ratio in ratios) else 1


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
