"""See who follows the server by its write-ahead log: what must be kept for a slot, and whom a COMMIT would wait for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.errors import NoWritesNowError

GB = 1024**3
MAX_SLOT_BYTES = 10 * GB
"""A purge writes WAL that such a slot keeps on the primary's disk; this much is no short outage of its reader."""
NOTED_SLOT_BYTES = GB
"""What a reader that is merely busy may be behind."""

REPLICA = (
    "the server is a read-only replica, and a run writes; name the primary in the location's DATABASE_URL, or let the "
    "run find it with target_session_attrs=read-write"
)
_AWAITED = re.compile(r"\s*(?:(?:FIRST|ANY)\s+)?(\d+)\s*\(", re.IGNORECASE)
"""Of synchronous_standby_names: how many are waited for; one, where it is a mere list."""


@dataclass(frozen=True)
class Slot:
    """A replication slot with which something is wrong."""

    name: str
    kind: str
    reader: int | None
    """The process that serves its reader, None where nobody reads."""
    status: str
    behind: int
    room: int | None
    """Bytes that may be written before the slot is lost; None where nothing ends it."""
    holds_rows: bool
    """Whether nobody reads, and VACUUM keeps dead rows for it all the same."""
    drop: str

    @property
    def is_lost(self) -> bool:
        return self.status == "lost"

    @property
    def refuses(self) -> bool:
        """Whether a purge would fill the disk for it, or lose its reader what it has not read yet."""
        return not self.is_lost and (self.behind > MAX_SLOT_BYTES or self.status == "unreserved")

    @property
    def says(self) -> str:
        name = f"the {self.kind} replication slot {self.name}"
        if self.is_lost:
            return f"{name} has lost WAL that its reader needs, by max_slot_wal_keep_size, and keeps none any more"
        ends = (
            "" if self.room is None else f", of which {_size(max(0, self.room))} more may be written before it is lost"
        )
        rows = "; VACUUM keeps deleted rows for it too" if self.holds_rows else ""
        return f"{name} is {_size(self.behind)} of WAL behind, and a purge adds to what the disk must keep for it{ends}{rows}"

    @property
    def remedy(self) -> str:
        if self.is_lost:
            return f"make its reader anew, then: {self.drop}"
        if self.reader:
            return f"wait until its reader (process {self.reader}) has caught up"
        return f"start its reader again, or if nobody needs it: {self.drop}"


def find_slots(connection: sa.Connection) -> Iterator[Slot]:
    """Yield the slots that are behind, about to be lost or lost, the furthest behind first."""
    query = sa.text(
        """
        SELECT slot_name, slot_type, active_pid, coalesce(wal_status, ''), coalesce(behind, 0)::bigint, safe_wal_size,
               NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL AND slot_type = 'physical'),
               'SELECT pg_drop_replication_slot(' || quote_literal(slot_name) || ');'
        FROM pg_replication_slots
        CROSS JOIN LATERAL (
            SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) END
        ) AS distance (behind)
        WHERE NOT pg_is_in_recovery() AND (behind > :noted OR wal_status IN ('unreserved', 'lost'))
        ORDER BY behind DESC NULLS LAST, slot_name
        """
    )
    for row in connection.execute(query, {"noted": NOTED_SLOT_BYTES}):
        yield Slot(*row)


@dataclass(frozen=True)
class Archiver:
    """A server whose log is not archived: it keeps what is not, for as long as that fails."""

    segment: str
    behind: int

    @property
    def refuses(self) -> bool:
        return self.behind > MAX_SLOT_BYTES

    @property
    def says(self) -> str:
        return (
            f"the server fails to archive its WAL ({self.segment}), is {_size(self.behind)} behind, and a purge adds to what "
            "the disk must keep until then"
        )

    @property
    def remedy(self) -> str:
        return "see in the server's log what archive_command says, and mend that"


def find_archiver(connection: sa.Connection) -> Archiver | None:
    """Return the archiver that failed last and has not archived since; how far it is behind is known from what it has."""
    query = sa.text(
        """
        SELECT last_failed_wal,
               CASE WHEN last_archived_wal ~ '^[0-9A-F]{24}$' AND NOT pg_is_in_recovery()
                    THEN pg_current_wal_lsn() - '0/0'::pg_lsn
                         - ('x' || substr(last_archived_wal, 9, 8))::bit(32)::bigint * 4294967296
                         - (('x' || substr(last_archived_wal, 17, 8))::bit(32)::bigint + 1) * segment.size
                    ELSE 0 END::bigint
        FROM pg_stat_archiver
        CROSS JOIN (SELECT setting::bigint AS size FROM pg_settings WHERE name = 'wal_segment_size') AS segment
        WHERE current_setting('archive_mode') <> 'off' AND last_failed_time > coalesce(last_archived_time, '-infinity')
        """
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Archiver(*row)


@dataclass(frozen=True)
class Standbys:
    """What the session sees of those that stream from the server now."""

    role: str
    count: int
    unseen: int
    """Those of which it cannot see how far they are behind."""
    standing: int
    """Those that a COMMIT counts, as far as is seen."""
    sees_all: bool
    awaited: int
    """How many a COMMIT of this session waits for."""
    names: str

    @property
    def missing(self) -> bool:
        """Whether a COMMIT would wait for ever; no where nobody can tell."""
        return self.awaited > (self.standing if self.sees_all else self.count)

    @property
    def says(self) -> str:
        there = self.standing if self.sees_all else self.count
        return (
            f"every COMMIT would wait for {self.awaited} synchronous standby{'s' if self.awaited > 1 else ''} "
            f"(synchronous_standby_names is {self.names}), and {there or 'none'} streams"
        )

    @property
    def remedy(self) -> str:
        return (
            "start the standby again, or as a superuser: ALTER SYSTEM SET synchronous_standby_names = ''; "
            "SELECT pg_reload_conf();"
        )


# What others' walsenders do is shown to members of pg_read_all_stats only, and that they are there to everybody. The
# slot of a standby, which everybody may read, tells how far it has come as well.
UNSEEN = "sender.state IS NULL AND slot.slot_name IS NULL"
SENDERS = "pg_stat_replication AS sender LEFT JOIN pg_replication_slots AS slot ON slot.active_pid = sender.pid"


def read_standbys(connection: sa.Connection) -> Standbys:
    """Return what is seen of the standbys."""
    query = sa.text(
        f"""
        SELECT current_user::text, count(sender.pid), count(*) FILTER (WHERE sender.pid IS NOT NULL AND {UNSEEN}),
               count(*) FILTER (WHERE sender.sync_state IN ('sync', 'quorum') AND sender.state IN ('streaming', 'stopping')),
               pg_has_role('pg_read_all_stats', 'USAGE'),
               current_setting('synchronous_commit') NOT IN ('off', 'local'),
               trim(current_setting('synchronous_standby_names'))
        FROM {SENDERS}
        """  # noqa: S608 - our own words
    )
    role, count, unseen, standing, sees_all, waits, names = connection.execute(query).one()
    counted = _AWAITED.match(names)
    awaited = 0 if not (waits and names) else int(counted[1]) if counted else 1
    return Standbys(role, count, unseen, standing, sees_all, awaited, names)


def find_hindrance(connection: sa.Connection) -> str | None:
    """Return why the server would take no write now, with the remedy; None where it would."""
    if connection.scalar(sa.text("SELECT pg_is_in_recovery()")):
        return REPLICA
    standbys = read_standbys(connection)
    return f"{standbys.says}; {standbys.remedy}" if standbys.missing else None


def require_writes(connection: sa.Connection) -> None:
    """Raise `NoWritesNowError` where the server would take no write now."""
    if hindrance := find_hindrance(connection):
        raise NoWritesNowError(hindrance)


def _size(size: int) -> str:
    return f"{size / GB:,.1f} GB"
