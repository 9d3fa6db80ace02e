"""Published lists in every situation, and the files that some have."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import sqrt
from pathlib import Path
from uuid import UUID

import psycopg

from cath_dagster.development.samples.cath.drawing import scaled
from cath_dagster.development.samples.cath.statements import SELECT_ARTEFACTS_WITH_FILES

Days = tuple[float, float]

# Files are written one by one: beyond scale 1 these caps grow with the square root of the scale only.
DOOMED_ARTEFACTS_WITH_FILES = 1_800
CURRENT_ARTEFACTS_WITH_FILES = 200


@dataclass(frozen=True)
class ArtefactGroup:
    """Publications in one situation: days since received, days until no longer displayed."""

    name: str
    size: int
    received: Days
    displayed: Days
    no_match: bool = False
    known_location: bool = True


ARTEFACT_GROUPS = (
    ArtefactGroup("current", 10_250, received=(0.2, 60), displayed=(4, 90)),
    ArtefactGroup("expired", 1_440, received=(62, 75), displayed=(-60, -2)),
    ArtefactGroup("no-match-expired", 50, (62, 75), (-60, -2), no_match=True, known_location=False),
    ArtefactGroup("no-match-old", 150, (9, 45), (4, 60), no_match=True, known_location=False),
    ArtefactGroup("no-match-recent", 60, (0.2, 5), (4, 60), no_match=True, known_location=False),
    ArtefactGroup("no-match-old-known", 30, (9, 45), (4, 60), no_match=True),
    ArtefactGroup("no-match-recent-known", 20, (0.2, 5), (4, 60), no_match=True),
)


def write_blobs(connection: psycopg.Connection, as_of: datetime, scale: float, root: Path) -> int:
    """Write the files of some lists and of the applications; return how many."""
    containers = {name: root / name for name in ("artefact", "publications", "files")}
    for folder in containers.values():
        folder.mkdir(parents=True, exist_ok=True)
    growth = max(1, sqrt(scale))
    limits = {
        "doomed": scaled(DOOMED_ARTEFACTS_WITH_FILES, growth),
        "current": scaled(CURRENT_ARTEFACTS_WITH_FILES, growth),
    }
    artefacts = connection.execute(SELECT_ARTEFACTS_WITH_FILES, {"as_of": as_of, **limits}).fetchall()
    proofs = connection.execute("SELECT proof_of_id_path FROM media_application WHERE proof_of_id_path IS NOT NULL")
    names = [name for artefact in artefacts for name in _name_blobs(*artefact)]
    names += [("files", path) for (path,) in proofs.fetchall()]
    for container, name in names:
        containers[container].joinpath(name).write_bytes(b"sample\n")
    return len(names)


def _name_blobs(artefact_id: UUID, list_type: str, is_flat_file: bool, no_match: bool) -> Iterator[tuple[str, str]]:
    # Every third is an older one, whose payload was stored with an extension.
    old_extension = ".pdf" if is_flat_file else ".json"
    yield "artefact", f"{artefact_id}{old_extension if artefact_id.int % 3 == 0 else ''}"
    if not (is_flat_file or no_match):
        yield "publications", f"{artefact_id}.pdf"
        if list_type.startswith(("SJP_", "MAGISTRATES_")):
            yield "publications", f"{artefact_id}.xlsx"
