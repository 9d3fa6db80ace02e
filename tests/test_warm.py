"""That a program which is forked from a warm process is one like any other."""

import signal
import subprocess
import tempfile

import pytest

from tests.support.command import PROGRAM, environment
from tests.support.warm import COMMAND, run, start

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("arguments", [("--help",), ("run", "no_such_job"), ("run", "clear_audit", "--quiet")])
def test_it_prints_and_ends_as_one_that_a_shell_starts(arguments: tuple[str, ...]) -> None:
    cold = subprocess.run(
        [PROGRAM, *arguments], env=environment(), capture_output=True, text=True, timeout=120, check=False
    )

    warm = run([PROGRAM, *arguments], environ=environment(), modules=COMMAND)

    assert warm.returncode == cold.returncode
    assert [without_run(text) for text in (warm.stdout, warm.stderr)] == [
        without_run(text) for text in (cold.stdout, cold.stderr)
    ]


def test_a_signal_that_ends_it_is_told() -> None:
    with tempfile.TemporaryFile() as log:
        process = start([PROGRAM, "jobs"], environ=environment(), output=log, modules=COMMAND)
        process.kill()

        assert process.wait(60) == -signal.SIGKILL
        assert process.poll() == -signal.SIGKILL


def without_run(text: str) -> list[str]:
    """Return the lines without what differs from run to run: its id, how long it took."""
    return [line for line in text.splitlines() if " run " not in line and " in 0." not in line]
