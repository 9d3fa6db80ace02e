"""The source `artifacts`: what the service has generated, by its checksum, and the files that there are."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from cath_dagster.cloudmake.drift.comparison import compare
from cath_dagster.cloudmake.drift.source import Look, Source, Surroundings, UnreadableError, whole
from cath_dagster.cloudmake.tables import spec_artifacts
from cath_dagster.core.outbox.tally import IDS_SHOWN

VARIABLE = "SPEC_ROOT"
ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
"""By the number of hexadecimal digits of a checksum."""


def look(surroundings: Surroundings) -> Look:
    """Compare the newest checksum of each path with its file; no path may lead out of the root."""
    root, variable = Path(surroundings.variable(VARIABLE)), f"{surroundings.prefix}_{VARIABLE}"
    if not root.is_dir():
        raise UnreadableError(f"{variable} is {root}, which is no folder")
    stated = surroundings.opened().transaction(_read)
    astray = sorted(path for path in stated if _inside(root, path) is None)
    if astray:
        ids = ", ".join(stated[path][0] for path in astray[:IDS_SHOWN])
        raise UnreadableError(f"spec_artifacts has {len(astray)} paths that lead out of {variable}; ids: {ids}")
    declared = {f"artifact {path}": {"checksum": checksum.lower()} for path, (_, checksum) in stated.items()}
    real = dict(_files(root, stated))
    return whole("artifacts", compare(declared, real), declared=len(declared))


def _read(connection: sa.Connection) -> dict[str, tuple[str, str]]:
    """Return by path the id and checksum of the newest row of it."""
    column = spec_artifacts.c
    rows = connection.execute(
        sa.select(column.artifact_path, column.id, column.checksum)
        .distinct(column.artifact_path)
        .order_by(column.artifact_path, column.updated_at.desc(), column.created_at.desc())
    )
    return {path: (str(row_id), _without_name(checksum)) for path, row_id, checksum in rows}


def _without_name(checksum: str) -> str:
    """Return the digits alone, as of `sha256:…`."""
    return checksum.rpartition(":")[2].strip()


def _inside(root: Path, path: str) -> Path | None:
    """Return where a path leads, links followed; None where that is not below the root, or nowhere at all."""
    if not path or "\0" in path or Path(path).is_absolute():
        return None
    target = (root / path).resolve()
    return target if target.is_relative_to(root.resolve()) else None


def _files(root: Path, stated: Mapping[str, tuple[str, str]]) -> dict[str, dict[str, str]]:
    found = {}
    for path, (row_id, checksum) in stated.items():
        algorithm = ALGORITHMS.get(len(checksum))
        if algorithm is None:
            raise UnreadableError(
                f"spec_artifacts {row_id} has a checksum of {len(checksum)} digits, which is none known"
            )
        file = _inside(root, path)
        if file is not None and file.is_file():
            found[f"artifact {path}"] = {"checksum": _checksum(file, algorithm, row_id)}
    return found


def _checksum(file: Path, algorithm: str, row_id: str) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, algorithm).hexdigest()
    except OSError as error:
        raise UnreadableError(f"the file of spec_artifacts {row_id} cannot be read: {error.strerror}") from None


SOURCE = Source(name="artifacts", look=look, variables=(VARIABLE,), needs_database=True, tables=(spec_artifacts.name,))
