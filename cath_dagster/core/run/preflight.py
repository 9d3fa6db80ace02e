"""Look, before a run's first write, for what would make it fail midway, run for hours, or harm others.

What is found is either a reason to refuse, with its remedy, or a note. Only catalogues are read. Sessions of other
roles are seen by a member of `pg_read_all_stats` only.
"""

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.postgres.catalogue import MissingPrivilege, find_missing_privileges
from cath_dagster.core.postgres.followers import find_archiver, find_slots
from cath_dagster.core.postgres.unindexed import ForeignKey, find_unindexed_foreign_keys

MAX_SCAN_TIME = timedelta(minutes=10)
"""An index takes seconds to build; whoever waits longer than this for scans should have built it."""
MAX_IDLE_IN_TRANSACTION = timedelta(minutes=10)
"""Longer than any request's or job's pause between two statements: the session was forgotten."""
PARTITIONS_NAMED = 5
"""A table may have hundreds, and one command helps them all."""


@dataclass(frozen=True)
class Preflight:
    """What was found. `reasons` speak against the run, each with its remedy; `notes` do not."""

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Obstacle:
    says: str
    refuses: bool
    locks_out: bool = False
    """Whether the rows can not even be read."""


def check_access(
    connection: sa.Connection,
    privileges: Mapping[str, tuple[str, ...]],
    purged: Collection[str],
    *,
    in_parts: Mapping[str, tuple[str, ...]],
    location: str,
) -> Preflight:
    """Return why the rows to purge could not even be counted, or later not deleted.

    `privileges` are the job's, `purged` the tables that this run purges: a table that the job may delete from, and
    this run does not, was switched off and is passed over. `in_parts` is what the run needs on the partitions of a table.
    """
    wanted = {name: needs for name, needs in privileges.items() if name in purged or "DELETE" not in needs}
    ours = {name.removeprefix(f"{SCHEMA}."): needs for name, needs in wanted.items() if name.startswith(f"{SCHEMA}.")}
    theirs = {name: needs for name, needs in wanted.items() if "." not in name and name != SCHEMA}
    missing = [
        *find_missing_privileges(connection, "public", theirs, in_parts=in_parts),
        *(find_missing_privileges(connection, SCHEMA, ours) if ours else ()),
    ]
    locked_out = (obstacle.says for obstacle in _idle_sessions(connection, list(purged)) if obstacle.locks_out)
    return Preflight(reasons=(*_lacking(missing, location), *locked_out))


def _lacking(missing: Sequence[MissingPrivilege], location: str) -> Iterator[str]:
    # A table that is not there is no refusal: the count fails with its name.
    for found in missing:
        if not found.is_absent and not found.partition_of:
            yield f"table {found.table}: {found.says}; {found.remedy}"
    partitions = [found for found in missing if found.partition_of]
    more = len(partitions) - PARTITIONS_NAMED
    if more > 0:
        yield f"{more} more partitions than these lack privileges"
    for found in partitions[:PARTITIONS_NAMED]:
        command = f"cath-dagster migrate {location} --role {shlex.quote(found.role)}"
        yield f"table {found.table}: {found.says}; {command}, as after every new partition, or: {found.remedy}"


def check_purge(connection: sa.Connection, matched: Mapping[str, int]) -> Preflight:
    """Return what speaks against deleting so many rows from these tables."""
    tables = [table for table, rows in matched.items() if rows]
    if not tables:
        return Preflight()
    obstacles = [
        *_idle_sessions(connection, tables),
        *_kept_log(connection),
    ]
    scans = _scans(find_unindexed_foreign_keys(connection, tables), matched)
    return Preflight(
        reasons=(*scans, *(obstacle.says for obstacle in obstacles if obstacle.refuses)),
        notes=tuple(obstacle.says for obstacle in obstacles if not obstacle.refuses),
    )


def _scans(keys: Sequence[ForeignKey], matched: Mapping[str, int]) -> list[str]:
    """Return why the run would take too long, naming the keys, the costliest first."""
    costs = sorted(((matched[key.parent] * key.seconds_per_parent, key) for key in keys), key=lambda cost: -cost[0])
    total = sum(seconds for seconds, _ in costs)
    if total <= MAX_SCAN_TIME.total_seconds():
        return []
    # Keys that add nothing to speak of would hide those that do.
    named = [(seconds, key) for seconds, key in costs if seconds >= total / 100]
    keys_say = "; ".join(
        f"{key.name}, {matched[key.parent]:,} deleted rows of {key.parent} × {key.child_rows:,} scanned rows, about "
        f"{_duration(seconds)}: {key.create_index}"
        for seconds, key in named
    )
    says = (
        f"foreign keys without an index would cost about {_duration(total)} of scans, more than "
        f"{_duration(MAX_SCAN_TIME.total_seconds())}: build the indexes with cath-dagster indexes build, or by hand as "
        f"the table's owner, or take fewer rows with max_rows ({keys_say})"
    )
    return [says]


def _idle_sessions(connection: sa.Connection, tables: Sequence[str]) -> Iterator[_Obstacle]:
    # An intention lock alone stands in no DELETE's way; with a transaction id it goes with locked or changed rows.
    query = sa.text(
        """
        SELECT session.pid, session.application_name, session.state_change,
               array_agg(DISTINCT relation.relname ORDER BY relation.relname),
               bool_or(held.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
                       OR held.mode IN ('RowShareLock', 'RowExclusiveLock') AND session.backend_xid IS NOT NULL),
               bool_or(held.mode = 'AccessExclusiveLock')
        FROM pg_stat_activity AS session
        JOIN pg_locks AS held ON held.pid = session.pid AND held.locktype = 'relation' AND held.granted
        JOIN pg_class AS relation ON relation.oid = held.relation AND relation.relkind IN ('r', 'p')
        JOIN pg_namespace AS its_schema ON its_schema.oid = relation.relnamespace AND its_schema.nspname = 'public'
        WHERE session.datname = current_database() AND session.pid <> pg_backend_pid()
          AND session.state LIKE 'idle in transaction%' AND session.state_change < clock_timestamp() - :bound
          AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND relation.relname = ANY(:tables)
        GROUP BY 1, 2, 3
        ORDER BY 3
        """
    )
    found = connection.execute(query, {"tables": list(tables), "bound": MAX_IDLE_IN_TRANSACTION})
    for pid, application_name, since, names, blocks, locks_out in found:
        session = (
            f"session {pid} ({application_name or 'no application_name'}) is idle in a transaction since "
            f"{_instant(since)}"
        )
        if blocks:
            says = f"{session} and holds locks on {', '.join(names)} that would hold the purge back"
        else:
            says = f"{session}: it has read {', '.join(names)} and keeps VACUUM from the rows deleted since"
        says = f"{says}; end it, or: SELECT pg_terminate_backend({pid});"
        yield _Obstacle(says, refuses=blocks, locks_out=locks_out)


def _kept_log(connection: sa.Connection) -> Iterator[_Obstacle]:
    """Yield for whom the disk must keep what the purge writes."""
    for slot in find_slots(connection):
        if not slot.is_lost:
            yield _Obstacle(f"{slot.says}; {slot.remedy}", slot.refuses)
    archiver = find_archiver(connection)
    if archiver is not None:
        yield _Obstacle(f"{archiver.says}; {archiver.remedy}", archiver.refuses)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 1 else f"{seconds:.3f} s"


def _instant(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds")
