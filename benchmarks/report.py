"""Tell the purge suite's results: as text with tables for docs/, and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.foreground import RATE, Round, median_of, of
from benchmarks.foreign_key import ARTEFACTS, LOG_ROWS, TRIED, ForeignKeyResult
from benchmarks.measures import Ratio
from benchmarks.peers import Peer
from benchmarks.purge import SizeResult

MADE_BY = (
    "Written by `make bench PUBLISH=1`, all of it from one run. Ratios are medians of alternating rounds, each on a fresh "
    "copy; only they carry over to another machine."
)
LOAD = (
    f"An open-loop load of {RATE} transactions a second: each reads a row of the purged table, changes one of another and "
    "inserts one into the purged table. Milliseconds, from the instant a transaction was due."
)
WRITER = (
    "A run during which nobody else writes needs no closing scan. “Beside a writer” is whole / DELETE of one that has it, "
    "since another session wrote meanwhile; the commits of that session take the run's log to the disk as well, which makes "
    "up for the scan."
)
MODES = ("idle", "polite", "bulk", "one DELETE")


@dataclass(frozen=True, kw_only=True)
class PurgeSuite:
    """What one run of the purge suite measured, and on what."""

    server: str
    sizes: Sequence[SizeResult]
    foreground: Sequence[Round]
    foreground_rows: int
    peers: Sequence[Peer]
    peers_rows: int
    foreign_key: ForeignKeyResult


def write(suite: PurgeSuite, ratios: Sequence[Ratio], folder: Path) -> None:
    """Write `benchmark.md` and `benchmark.png` into the folder."""
    (folder / "benchmark.md").write_text(_text(suite, ratios))
    _draw(suite, folder / "benchmark.png")


def _text(suite: PurgeSuite, ratios: Sequence[Ratio]) -> str:
    key = suite.foreign_key
    parts = [
        "# What a purge costs",
        MADE_BY,
        suite.server,
        "![Throughput, and what users wait meanwhile](benchmark.png)",
        "## Goals",
        _table(
            ("measure", "ours", "beside it", "result", "goal", ""),
            [(r.name, r.ours, r.beside, r.result, r.goal, "met" if r.is_met else "missed") for r in ratios],
        ),
        "## By size, at the pace `bulk`",
        WRITER,
        _table(
            (
                "rows",
                "heap",
                "one DELETE",
                "deleting",
                "whole run",
                "deleting / DELETE",
                "whole / DELETE",
                "beside a writer",
                "memory",
            ),
            [
                (
                    f"{size.rows:,}",
                    size.heap,
                    f"{median(size.one_delete):.2f} s",
                    f"{median(run.deleting for run in size.ours):.2f} s",
                    f"{size.seconds:.2f} s",
                    f"{size.deleting:.2f}",
                    f"{size.whole:.2f}",
                    f"{size.whole_accompanied:.2f}",
                    f"{size.peak_mb:.0f} MB",
                )
                for size in suite.sizes
            ],
        ),
        f"## What users wait while {suite.foreground_rows:,} rows are purged",
        LOAD,
        _table(
            ("mode", "p50", "p95", "p99", "seconds", "longest transaction"),
            [_mode(suite, mode) for mode in MODES],
        ),
        f"## Beside what else one might write, {suite.peers_rows:,} rows",
        _table(
            ("way", "seconds", "throughput against one DELETE", "longest transaction"),
            [
                (peer.name, f"{peer.seconds:.2f}", f"{peer.ratio:.2f}", f"{1_000 * peer.longest:,.0f} ms")
                for peer in suite.peers
            ],
        ),
        f"## A foreign key without an index: {ARTEFACTS:,} artefacts, {LOG_ROWS:,} referring rows",
        _table(
            ("", "seconds"),
            [
                (f"without the index, from {TRIED} artefacts", f"{key.all_without:,.0f}"),
                ("`cath-dagster indexes build`", f"{key.building:.1f}"),
                ("with the index", f"{key.purging:.1f}"),
            ],
        ),
        f"Without the index a run is refused before its first write: “{key.refusal}”",
    ]
    return "\n\n".join(parts) + "\n"


def _mode(suite: PurgeSuite, mode: str) -> tuple[str, ...]:
    rounds = of(suite.foreground, mode)
    told = median_of(suite.foreground, mode)
    seconds = f"{median(each.seconds for each in rounds):.2f}" if mode != "idle" else "–"
    longest = f"{1_000 * max(each.longest for each in rounds):.0f} ms" if mode != "idle" else "–"
    return (mode, f"{told.p50:.2f}", f"{told.p95:.2f}", f"{told.p99:.2f}", seconds, longest)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _draw(suite: PurgeSuite, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    rows = [size.rows / 1e6 for size in suite.sizes]
    left.plot(rows, [median(size.one_delete) for size in suite.sizes], "o--", color="0.5", label="one DELETE")
    left.plot(rows, [size.seconds for size in suite.sizes], "o-", color="tab:blue", label="clear_audit, bulk")
    left.set(title="Seconds to purge a table, 80 % expired", xlabel="million rows", ylabel="seconds", xlim=0, ylim=0)
    left.legend(frameon=False)
    colours = {"idle": "0.7", "polite": "tab:green", "bulk": "tab:blue", "one DELETE": "0.4"}
    for offset, mode in enumerate(MODES):
        told = median_of(suite.foreground, mode)
        places = [place + (offset - 1.5) * 0.2 for place in range(3)]
        right.bar(places, [told.p50, told.p95, told.p99], width=0.2, label=mode, color=colours[mode])
    right.set(
        title="What users wait meanwhile", ylabel="milliseconds", xticks=range(3), xticklabels=["p50", "p95", "p99"]
    )
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
