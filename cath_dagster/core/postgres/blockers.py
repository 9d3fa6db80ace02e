"""Name the sessions whose locks keep a statement of ours waiting, so that somebody can end them."""

from collections.abc import Sequence

import sqlalchemy as sa


def find_lock_holders(connection: sa.Connection, relations: Sequence[str]) -> list[str]:
    """Return in words who holds a lock on one of the relations that a reader or a refresh has to wait for.

    A mere reader is named for a relation in `maintenance` alone: nothing else of what is read there is replaced.
    """
    query = sa.text(
        """
        SELECT DISTINCT session.pid, coalesce(nullif(session.application_name, ''), 'no application_name'),
            coalesce(', ' || session.state, ''), held.relation::regclass::text, held.mode
        FROM pg_locks AS held JOIN pg_stat_activity AS session ON session.pid = held.pid
        JOIN pg_class AS relation ON relation.oid = held.relation
        WHERE held.locktype = 'relation' AND held.granted AND held.pid <> pg_backend_pid()
          AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND held.relation = ANY(ARRAY(SELECT to_regclass(name)::oid FROM unnest(CAST(:names AS text[])) AS name))
          AND (held.mode = 'AccessExclusiveLock' OR relation.relkind = 'm')
        ORDER BY 1
        """
    )
    return [
        f"session {pid} ({name}{state}) holds {mode} on {relation}"
        for pid, name, state, relation, mode in connection.execute(query, {"names": list(relations)})
    ]
