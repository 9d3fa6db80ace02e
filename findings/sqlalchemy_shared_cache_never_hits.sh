#!/usr/bin/env bash
# SQLAlchemy: a compiled cache given to two engines of one database serves neither of them what the other compiled.
#
# Versions: SQLAlchemy 2.0.57.
#
# One would guess: the execution option `compiled_cache` takes a dictionary, so whoever opens an engine for each short piece
# of work (one for each job, tenant or test) can hand all of them one dictionary, and pays for compiling a statement once.
# Two engines with the same URL, driver and options produce the same text, and the dictionary is the caller's own.
#
# What happens: the option is accepted and the dictionary fills. Its keys begin with the dialect object itself, and each engine
# makes one of its own; dialects compare by identity. So every engine compiles everything anew, the dictionary holds one
# entry for each engine and statement, keeps the dialects of disposed engines alive, and nothing says that it never hits. The
# same dictionary does serve the second connection of one engine.
#
# Why it matters: for short work by a fresh engine the compiling is a large part of its processor time, and the obvious
# remedy costs memory and saves nothing. What helps is to keep the engine, or dialects that compare equal.
#
# Output seen:
#> one engine, two connections: 1 compiled
#> two engines, one dictionary: 2 compiled, by 2 dialects
#> texts that were compiled: 1
#> ten engines, disposed of: 10 compiled

set -euo pipefail
expected=$(sed -n 's/^#> //p' "${BASH_SOURCE[0]}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sqlalchemy==2.0.57

seen=$("$work/venv/bin/python" - <<'PYTHON'
import sqlalchemy as sa

statement = sa.select(sa.literal(1)).where(sa.literal(2) > 1)


def run(engine):
    with engine.connect() as connection:
        connection.execute(statement)


def make(cache):
    return sa.create_engine("sqlite://", execution_options={"compiled_cache": cache})


cache = {}
engine = make(cache)
run(engine)
run(engine)
print(f"one engine, two connections: {len(cache)} compiled")

cache = {}
for _ in range(2):
    run(make(cache))
print(f"two engines, one dictionary: {len(cache)} compiled, by {len({key[0] for key in cache})} dialects")
print(f"texts that were compiled: {len({str(compiled) for compiled in cache.values()})}")

cache = {}
for _ in range(10):
    engine = make(cache)
    run(engine)
    engine.dispose()
print(f"ten engines, disposed of: {len(cache)} compiled")
PYTHON
)
if [ "$seen" != "$expected" ]; then
    printf 'changed. expected:\n%s\nseen:\n%s\n' "$expected" "$seen" >&2
    exit 1
fi
printf '%s\n' "$seen"
