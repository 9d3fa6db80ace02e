"""Fill a CaTH database with a deterministic sample in which every job finds work and something to leave alone.

Everything is measured against `as_of`. No row lies within a day of a cutoff or crosses one in the 24 hours after
`as_of`, so a second run on the same day finds nothing left to do. Rows at scale 1, about 208,000 in all; every table
but the reference data grows with the scale, and every kind below is present from scale 0.01 on.

| table                   | rows   | of which                                                                          |
| ----------------------- | ------ | --------------------------------------------------------------------------------- |
| notification_audit_log  | 60,000 | 35 % older than 90 days; two or more on every subscription                        |
| audit_log               | 42,000 | 36 % older than 90 days; by the system administrators                             |
| ingestion_log           | 30,000 | 33 % older than 90 days; one on every artefact, the others on none                |
| artefact                | 12,000 | 1,490 expired (50 of them no-match), 150 no-match to remove, 60 too recent,       |
|                         |        | 50 whose raw location id is by chance an existing location's                      |
| artefact_search         | 29,000 | on every artefact that matched a location                                         |
| user                    | 5,400  | 41 addresses to warn, 300 users to delete, 125 who wait (see `_USER_GROUPS`)      |
| subscription            | 25,000 | 400 orphans: no such location, no number, location deleted over 30 days ago       |
| subscription_list_type  | 2,000  | a fifth with deleted or unknown list types, mixed or none other; recent ones too  |
| media_application       | 280    | twelve ended weeks and the current one; names that spreadsheets take for formulas |
| third parties           | 70     | users, subscriptions and pushes                                                   |
| location                | 400    | 370 open, 15 soft-deleted recently, 15 over 30 days ago                           |
| list_types              | 28     | 24 in use, 2 soft-deleted over 30 days ago, 2 recently                            |
| maintenance.sent_notice | 390    | the warnings sent to those who wait or are to be deleted, and to 5 who came back  |

People, cases and addresses are made up; every address is at example.com or example.org.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cath_dagster.cath import CATH
from cath_dagster.development.sample import Filling, Sample
from cath_dagster.development.samples.cath import statements
from cath_dagster.development.samples.cath.drawing import Row, scaled
from cath_dagster.development.samples.cath.people import draw_applications, draw_notices, draw_users
from cath_dagster.development.samples.cath.publications import ARTEFACT_GROUPS, ArtefactGroup, write_blobs
from cath_dagster.development.samples.cath.reference_data import (
    CLOSED_LOCATIONS,
    LIVE_LIST_TYPES,
    OPEN_LOCATIONS,
    RECENTLY_CLOSED_LOCATIONS,
    RECENTLY_DELETED_LIST_TYPES,
    reference_data,
)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SampleSummary:
    """How many rows each table got, and how many blobs were written."""

    rows: Mapping[str, int]
    blob_files: int

    @property
    def total(self) -> int:
        return sum(self.rows.values())


def create_schema(connection: psycopg.Connection) -> None:
    """Create the service's tables, keys and indexes; the caller owns the transaction."""
    ddl = resources.files(__package__).joinpath("schema.sql").read_bytes()
    connection.execute(ddl)


def fill(
    connection: psycopg.Connection,
    *,
    as_of: datetime,
    scale: float = 1.0,
    blob_root: Path | None = None,
    progress: Progress | None = None,
) -> SampleSummary:
    """Fill the empty tables and, under `blob_root`, the containers `artefact`, `publications` and `files`.

    Runs in one transaction, the caller's if one is open; files are written last, up to a cap above scale 1. Needs the
    service's schema and the table `maintenance.sent_notice`. A naive `as_of` is UTC. Equal `as_of` and `scale` give
    equal rows. `progress` is called with the table that comes next, the steps done and the steps in all,
    and at the end with ("", all, all).
    """
    instant = as_of.replace(tzinfo=as_of.tzinfo or UTC).astimezone(UTC)
    with connection.transaction():
        sample = _Sample(connection, instant.replace(tzinfo=None), scale)
        steps = sample.steps()
        connection.execute(statements.CREATE_FUNCTIONS)
        for done, (table, insert) in enumerate(steps):
            if progress is not None:
                progress(table, done, len(steps))
            sample.rows[table] = sample.rows.get(table, 0) + insert()
        connection.execute(statements.DROP_FUNCTIONS)
        for table in sample.rows:
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(*table.split("."))))
        blob_files = 0 if blob_root is None else write_blobs(connection, sample.as_of, scale, blob_root)
    if progress is not None:
        progress("", len(steps), len(steps))
    return SampleSummary(sample.rows, blob_files)


class _Sample:
    """One filling: the steps in the order of the foreign keys, each returning the rows it inserted."""

    def __init__(self, connection: psycopg.Connection, as_of: datetime, scale: float) -> None:
        self.connection = connection
        self.as_of = as_of
        self.scale = scale
        self.rows: dict[str, int] = {}
        self.users = list(draw_users(as_of, scale))

    def steps(self) -> list[tuple[str, Callable[[], int]]]:
        return [
            *((table, self._copy_step(table, rows)) for table, rows in reference_data(self.as_of).items()),
            ("user", self._copy_step("user", [user.row for user in self.users])),
            ("maintenance.sent_notice", self._copy_step("maintenance.sent_notice", draw_notices(self.users))),
            ("media_application", self._copy_step("media_application", draw_applications(self.as_of, self.scale))),
            *(("artefact", self._artefact_step(group)) for group in ARTEFACT_GROUPS),
            ("artefact_search", self._sql_step(statements.INSERT_ARTEFACT_SEARCH)),
            ("ingestion_log", self._sql_step(statements.INSERT_INGESTION_LOG_OF_ARTEFACTS)),
            ("ingestion_log", self._sql_step(statements.INSERT_INGESTION_LOG, size=18_000)),
            ("subscription", self._sql_step(statements.INSERT_SUBSCRIPTIONS)),
            ("subscription_list_type", self._sql_step(statements.INSERT_SUBSCRIPTION_LIST_TYPES, size=2_000)),
            ("notification_audit_log", self._sql_step(statements.INSERT_NOTIFICATIONS, size=60_000)),
            ("audit_log", self._sql_step(statements.INSERT_AUDIT_LOG, size=42_000)),
            *((table, self._sql_step(insert, size=4)) for table, insert in statements.INSERT_THIRD_PARTIES.items()),
        ]

    def _copy_step(self, table: str, rows: Iterable[Row]) -> Callable[[], int]:
        def copy_rows() -> int:
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, _COPIED_COLUMNS[table]))
            )
            with self.connection.cursor() as cursor:
                with cursor.copy(statement) as copy:
                    for row in rows:
                        copy.write_row(row)
                return cursor.rowcount

        return copy_rows

    def _sql_step(self, statement: LiteralString, *, size: int = 0, **parameters: object) -> Callable[[], int]:
        def insert_rows() -> int:
            values = {**self._shared_parameters(), "rows": scaled(size, self.scale), **parameters}
            return self.connection.execute(statement, values).rowcount

        return insert_rows

    def _artefact_step(self, group: ArtefactGroup) -> Callable[[], int]:
        return self._sql_step(
            statements.INSERT_ARTEFACTS,
            size=group.size,
            name=group.name,
            known_location=group.known_location,
            no_match=group.no_match,
            received_low=group.received[0],
            received_high=group.received[1],
            displayed_low=group.displayed[0],
            displayed_high=group.displayed[1],
        )

    def _shared_parameters(self) -> dict[str, Any]:
        return {
            "as_of": self.as_of,
            "current": scaled(ARTEFACT_GROUPS[0].size, self.scale),
            "open_locations": OPEN_LOCATIONS,
            "recently_closed_locations": RECENTLY_CLOSED_LOCATIONS,
            "closed_locations": CLOSED_LOCATIONS,
            "first_closed_location": OPEN_LOCATIONS + RECENTLY_CLOSED_LOCATIONS + 1,
            "live_list_types": LIVE_LIST_TYPES,
            "deleted_list_type": LIVE_LIST_TYPES + RECENTLY_DELETED_LIST_TYPES + 1,
            "subscriptions": self.rows.get("subscription", 0),
            "administrators": sum(user.role == "SYSTEM_ADMIN" for user in self.users),
        }


_COPIED_COLUMNS = {
    "list_types": (
        *("id", "name", "friendly_name", "welsh_friendly_name", "default_sensitivity", "allowed_provenance"),
        *("created_at", "updated_at", "deleted_at"),
    ),
    "location": ("location_id", "name", "welsh_name", "email", "contact_no", "deleted_at"),
    "region": ("region_id", "name", "welsh_name"),
    "jurisdiction": ("jurisdiction_id", "name", "welsh_name"),
    "sub_jurisdiction": ("sub_jurisdiction_id", "name", "welsh_name", "jurisdiction_id"),
    "location_region": ("location_id", "region_id"),
    "location_sub_jurisdiction": ("location_id", "sub_jurisdiction_id"),
    "location_reference": (
        *("location_reference_id", "location_id", "provenance", "provenance_location_id", "provenance_location_type"),
    ),
    "user": (
        *("user_id", "email", "first_name", "surname", "user_provenance", "user_provenance_id", "role"),
        *("created_date", "last_signed_in_date"),
    ),
    "maintenance.sent_notice": (
        *("job", "subject_id", "kind", "period_start", "as_of", "sent_at", "status", "reference"),
    ),
    "media_application": (
        *("id", "name", "email", "employer", "status", "applied_date", "proof_of_id_path", "proof_of_id_original_name"),
    ),
}


def _fill(connection: psycopg.Connection, filling: Filling) -> int:
    summary = fill(
        connection,
        as_of=filling.as_of,
        scale=filling.scale,
        blob_root=filling.file_root,
        progress=lambda table, done, total: filling.reporter.progress("tables", done, total),  # noqa: ARG005
    )
    return summary.total


SAMPLE = Sample(
    CATH,
    create_schema,
    _fill,
    stores={"BLOB_URL": "blobs", "REPORT_URL": "reports"},
    files="blobs",
    effects=("reports", "notify.jsonl"),
)
