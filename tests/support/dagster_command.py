"""Dagster's own command line in a folder of the test's."""

import os
import sys
from pathlib import Path

from tests.support.service import Service

REPOSITORY = Path(__file__).parents[2]
DAGSTER = str(Path(sys.executable).parent / "dagster")


def root(folder: Path) -> Path:
    """Return a folder like the repository's root, so that what a run leaves behind is seen, and in nobody's way."""
    made = folder / "root"
    if not made.exists():
        made.mkdir()
        for name in ("pyproject.toml", "dagster.yaml", "workspace.yaml", "cath_dagster"):
            (made / name).symlink_to(REPOSITORY / name)
    return made


def command(service: Service, folder: Path, config: str, *where: str) -> tuple[list[str], dict[str, str]]:
    """Return the command line and environment of a run of `clear_audit`."""
    file = folder / "run.yaml"
    file.write_text(f'as_of: "{service.as_of.isoformat()}"\n{config}')
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("CATH_", "DAGSTER_"))}
    return [DAGSTER, "job", "execute", *where, "-j", "clear_audit", "-c", str(file)], plain | service.environ


def add_entries(service: Service, count: int) -> None:
    service.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), %s, 'SNL', '1', 'SUCCESS' FROM generate_series(1, %s)",
        (service.days_ago(91), count),
    )
