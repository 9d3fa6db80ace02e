"""The committed inventory of jobs, in whose review a job that vanishes, or runs at another time, is noticed."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "jobs.txt"


def inventory(location: str | None = None) -> dict[str, str]:
    """Return by name when each job runs, of one location or of all."""
    lines = [line.split("  ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    return {key.partition("/")[2]: schedule for key, schedule, _ in lines if location in (None, key.partition("/")[0])}
