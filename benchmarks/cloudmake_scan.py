"""Scan this repository's whole history for secrets, beside gitleaks on the same, where it or Go is at hand."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measures import BenchmarkError, Ratio, Say, at_least
from cath_dagster.development.local import REPOSITORY

GOAL = 5.0
VARIABLE = "GITLEAKS"
"""Where gitleaks is, if it is not on the path."""
INSTALL = "go install github.com/zricethezav/gitleaks/v8@v8.30.1"

SAME_WORK = "--log-opts=--all --full-history --diff-merges=first-parent"
"""By itself it looks at no merge, in which a secret may be brought as in any commit."""


def measure_scan(*, rounds: int, say: Say) -> Iterator[Ratio]:
    """Yield the ratio of the two, each a process of its own from its start; none where there is no gitleaks."""
    gitleaks = _find_gitleaks()
    if gitleaks is None:
        say(
            f"secret scan: left out, gitleaks is neither on the path nor named by {VARIABLE}; {INSTALL} takes some minutes"
        )
        return
    say(f"secret scan: {rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "repository"
        _run(["git", "clone", "--quiet", "--no-local", REPOSITORY.as_uri(), str(clone)])
        # The first round compiles the rules for the user's cache, as the first scan on a machine does.
        times = [(_scan(clone), _gitleaks(gitleaks, clone)) for _ in range(rounds + 1)][1:]
    yield at_least(
        "secret scan of this repository's whole history, merges included, speed against gitleaks", times, goal=GOAL
    )


def _find_gitleaks() -> str | None:
    return os.environ.get(VARIABLE) or shutil.which("gitleaks") or shutil.which("gitleaks", path=_go_programs())


def _go_programs() -> str:
    return str(Path(os.environ.get("GOPATH", Path.home() / "go")) / "bin")


def _scan(clone: Path) -> float:
    program = str(Path(sys.executable).parent / "cath-dagster")
    seconds, said = _run([program, "secrets", "scan", str(clone), "--all", "--json", "--no-gate"])
    report = json.loads(said)
    if report["unread"] or not report["commits"]:
        raise BenchmarkError(f"the scan did not look at everything: {report['unread']}")
    return seconds


def _gitleaks(program: str, clone: Path) -> float:
    command = [
        program,
        "git",
        "--no-banner",
        "--redact",
        "--log-level",
        "error",
        "--exit-code",
        "0",
        SAME_WORK,
        str(clone),
    ]
    return _run(command)[0]


def _run(command: list[str]) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(command[:3])} ended with {done.returncode}: {done.stderr[-500:]}")
    return seconds, done.stdout
