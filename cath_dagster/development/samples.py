"""The services of which a sample can be made on this machine."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from cath_dagster.bon import BON
from cath_dagster.cath import CATH
from cath_dagster.checktick import CHECKTICK
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.run.resources import Reporter
from cath_dagster.development import bon_sample, cath_sample, checktick_sample


@dataclass(frozen=True)
class Filling:
    """What a sample is made from: `file_root` is where a service's files go, if it has any."""

    as_of: datetime
    scale: float
    file_root: Path
    reporter: Reporter


@dataclass(frozen=True)
class Sample:
    """A service's sample, in a database of the location's name."""

    location: CodeLocation
    create_schema: Callable[[psycopg.Connection], None]
    fill: Callable[[psycopg.Connection, Filling], int]
    """Fills the empty tables and returns how many rows there are."""
    files: str | None = None
    """The folder of the service's files, without which its rows are of no use."""
    effects: tuple[str, ...] = ()
    """Folders and files of what earlier runs made of the sample."""

    @property
    def name(self) -> str:
        return self.location.name


def _fill_cath(connection: psycopg.Connection, filling: Filling) -> int:
    summary = cath_sample.fill(
        connection,
        as_of=filling.as_of,
        scale=filling.scale,
        blob_root=filling.file_root,
        progress=lambda table, done, total: filling.reporter.progress("tables", done, total),  # noqa: ARG005
    )
    return summary.total


def _fill_bon(connection: psycopg.Connection, filling: Filling) -> int:
    return bon_sample.fill(connection, as_of=filling.as_of, scale=filling.scale)


def _fill_checktick(connection: psycopg.Connection, filling: Filling) -> int:
    return checktick_sample.fill(connection, as_of=filling.as_of, media_root=filling.file_root, scale=filling.scale)


SAMPLES = (
    Sample(CATH, cath_sample.create_schema, _fill_cath, files="blobs", effects=("reports", "notify.jsonl")),
    Sample(BON, bon_sample.create_schema, _fill_bon, effects=("mail",)),
    Sample(CHECKTICK, checktick_sample.create_schema, _fill_checktick, files="media"),
)
