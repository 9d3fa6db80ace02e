"""Holds a deletion in its midst for as long as a test wants, whatever the machine's speed.

A trigger lets the first rows go, so that a batch is committed, and then waits for the test. It waits asleep and not for
a lock: no limit of the job's on locks ends that, and a cancelled statement ends at once.
"""

import psycopg
from psycopg import sql

FREE_ROWS = 20
"""More than a first batch takes, and less than the first two."""
KEY = 5_318_008
"""Of the advisory lock that is held by the test."""
HOLD = """
CREATE SEQUENCE public.held_rows;
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF nextval('public.held_rows') > {free} THEN
    WHILE NOT pg_try_advisory_xact_lock_shared({key}) LOOP
      PERFORM pg_sleep(0.02);
    END LOOP;
  END IF;
  RETURN OLD;
END $$;
CREATE TRIGGER hold BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION hold()
"""


def hold(connection: psycopg.Connection[tuple[object, ...]], table: str, *, free: int = FREE_ROWS) -> None:
    """Let so many rows of a table be deleted, and no other before they are let go. The session holds them."""
    connection.execute("SELECT pg_advisory_lock(%s)", [KEY])
    connection.execute(sql.SQL(HOLD).format(free=sql.Literal(free), key=sql.Literal(KEY), table=sql.Identifier(table)))


def let_go(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Let all rows be deleted; there may be nothing that holds them."""
    connection.execute(
        "SELECT pg_advisory_unlock(%s) FROM pg_locks"
        " WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objid = %s",
        [KEY, KEY],
    )
    connection.execute("DROP FUNCTION IF EXISTS hold CASCADE")
    connection.execute("DROP SEQUENCE IF EXISTS public.held_rows")
