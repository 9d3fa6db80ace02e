"""See what a busy server shows of how its other users fare."""

from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.postgres.followers import SENDERS, UNSEEN

MIN_STALLED = 3
"""Now and then any healthy server shows a session or two that wait for the disk or for an internal lock."""
STALLED_SHARE = 0.5
"""Of the sessions at work: as many wait for something inside the server as are served."""
MAX_LAG_BYTES = 64 * 1024**2
"""Four WAL segments. What a standby has not received yet would be lost with the primary."""

# One snapshot of the server in one statement. Who waits for us is asked only where somebody waits at all:
# pg_blocking_pids() stops the lock manager for a moment. What sessions of other roles wait for is shown to members
# of pg_read_all_stats only, and their locks to everybody. A standby is behind by what it has not written down, which
# its slot tells too; how much of that it replays may be delayed on purpose.
_LOOK = sa.text(
    f"""
    WITH waiting AS MATERIALIZED (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid())
    SELECT
        (SELECT count(*) FROM waiting WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))) AS waiting_for_us,
        (SELECT count(*) FROM waiting) AS waiting_for_locks,
        coalesce(sum(1) FILTER (WHERE state = 'active'), 0) AS active,
        coalesce(sum(1) FILTER (WHERE state = 'active' AND wait_event_type IN ('LWLock', 'IO', 'BufferPin')), 0)
            AS stalled,
        standbys.lag_bytes,
        (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal_position,
        standbys.unseen,
        pg_has_role('pg_read_all_stats', 'USAGE') AS sees_others
    FROM (
        SELECT max(pg_current_wal_lsn() - coalesce(sender.flush_lsn, slot.confirmed_flush_lsn, slot.restart_lsn))::bigint
                   AS lag_bytes,
               count(*) FILTER (WHERE sender.pid IS NOT NULL AND {UNSEEN}) AS unseen
        FROM {SENDERS}
    ) AS standbys
    LEFT JOIN pg_stat_activity ON backend_type = 'client backend' AND pid <> pg_backend_pid()
    GROUP BY standbys.lag_bytes, standbys.unseen
    """  # noqa: S608 - our own words
)


@dataclass(frozen=True)
class Pressure:
    """What one look at the server found. `wal_position` is in bytes since the server's beginning."""

    waiting_for_us: int
    waiting_for_locks: int
    active: int
    stalled: int
    lag_bytes: int | None
    wal_position: int
    unseen_standbys: int = 0
    """Those that may lag without being seen."""
    sees_others: bool = True
    """Whether what other sessions wait for is shown."""

    @property
    def unseen(self) -> tuple[str, ...]:
        """What a role without pg_read_all_stats goes without."""
        standbys = "standby" if self.unseen_standbys == 1 else "standbys"
        found = {
            "what others wait for": not self.sees_others,
            f"the lag of {self.unseen_standbys} {standbys}": self.unseen_standbys > 0,
        }
        return tuple(what for what, holds in found.items() if holds)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why a considerate guest would step back, the most certain first; none on a calm server."""
        found = {
            "others wait for our locks": self.waiting_for_us > 0,
            "others wait for locks": self.waiting_for_locks > self.waiting_for_us,
            "others are stalled": self.stalled >= max(MIN_STALLED, STALLED_SHARE * self.active),
            "a standby lags": self.lag_bytes is not None and self.lag_bytes > MAX_LAG_BYTES,
        }
        return tuple(reason for reason, holds in found.items() if holds)


def look(connection: sa.Connection) -> Pressure:
    """Return what the server shows now; within a transaction, whose waiters are then seen as well."""
    return Pressure(*connection.execute(_LOOK).one())
