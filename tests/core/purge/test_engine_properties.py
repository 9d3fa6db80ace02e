"""What holds of every purge: random tables, rules, writers at the same time, kills and second runs.

An example is drawn as a whole before it runs, and others act only between batches or while the purge waits for
their lock: an example that fails, fails again.
"""

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import hypothesis
import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.model.purge import Child, Purge
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.purge.access_path import describe_access
from cath_dagster.core.purge.batch_runner import Progress
from cath_dagster.core.purge.engine import Purger
from cath_dagster.core.purge.pace import PACE_LIMITS, Pacer

AS_OF = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
CUTOFF = datetime(2026, 8, 20, 1, 0)
AGES = {"old": datetime(2026, 1, 1), "new": datetime(2026, 11, 1), "at the cutoff": CUTOFF, "none": None}
OWNERS = ("ann", "bob", "cat")
KEYS: dict[str, Callable[[int], Any]] = {
    "integer": lambda number: 1_000 - number,
    "text": lambda number: f"%'{number}\\ é",
    "uuid": lambda number: uuid.uuid5(uuid.NAMESPACE_OID, str(number)),
}
OLD = f"coalesce(r.seen_at < '{CUTOFF}', false)"
RULES = {
    "old": OLD,
    "old or undated": f"(r.seen_at IS NULL OR {OLD})",
    "old and not held": f"({OLD} AND NOT EXISTS (SELECT FROM hold WHERE hold.thing_id = r.id))",
    "old and its owner not held": f"({OLD} AND NOT EXISTS (SELECT FROM holder WHERE owner = r.owner AND is_held))",
}
"""Each rule once more, written by hand: what the purge's own predicate is held against."""


@dataclass(frozen=True)
class Family:
    """Children, and their children if `is_deep`; `is_declared` says whether the purge knows of them."""

    on_delete: str
    is_indexed: bool
    is_declared: bool
    is_deep: bool


@dataclass(frozen=True)
class Row:
    age: str
    size: int
    is_hole: bool
    """Deleted before the purge begins."""
    pieces: int


@dataclass(frozen=True)
class Deed:
    """What another does to the `which`-th row it can be done to, at the purge's `at`-th report."""

    what: str
    which: int
    at: int


@dataclass(frozen=True)
class Kill:
    """How the first run is disturbed: at the `at`-th report, reading of the clock, deletion or commit."""

    how: str
    at: int


@dataclass(frozen=True)
class Example:
    key: str
    rows: list[Row]
    copies: int
    is_vacuumed: bool
    is_analyzed: bool
    rule: str
    by_keys: bool
    pace: Pace
    is_indexed: bool
    """Whether the planner has an index on the age, and would rather not read the whole table."""
    family: Family | None
    limit: int | None
    seconds_per_tick: float
    deeds: list[Deed]
    held: Deed | None
    """Done in a transaction that ends once somebody waits for it."""
    kill: Kill | None

    @property
    def may_be_refused(self) -> bool:
        return self.family is not None and self.family.on_delete == "RESTRICT" and not self.family.is_declared

    @property
    def tables(self) -> list[str]:
        if self.family is None:
            return ["thing"]
        return ["thing", "piece", "bit"] if self.family.is_deep else ["thing", "piece"]


ROWS = st.builds(
    Row,
    age=st.sampled_from(["old", "old", "old", *AGES]),
    size=st.sampled_from([0, 0, 300, 1900]),
    is_hole=st.sampled_from([False, False, True]),
    pieces=st.integers(0, 2),
)


@st.composite
def families(draw: st.DrawFn) -> Family:
    is_declared = draw(st.booleans())
    return Family(
        on_delete=draw(st.sampled_from(["CASCADE", "RESTRICT", "SET NULL"])),
        is_indexed=draw(st.booleans()),
        is_declared=is_declared,
        is_deep=is_declared and draw(st.booleans()),
    )


@st.composite
def examples(
    draw: st.DrawFn, *, rules: tuple[str, ...] = tuple(RULES), is_killed: bool = False, is_limited: bool = False
) -> Example:
    rule = draw(st.sampled_from(rules))
    family = draw(st.none() | families())
    whats = ["rescue", "expire", "move", "move", "insert old", "insert old", "insert new"]
    whats += {"old and not held": ["hold", "release"], "old and its owner not held": ["seize"]}.get(rule, [])
    whats += ["adopt", "reparent"] if family else []
    deeds = st.builds(Deed, what=st.sampled_from(whats), which=st.integers(0, 50), at=st.integers(1, 8))
    # One who inserts rows holds no lock that the purge would wait for.
    holding = [what for what in whats if what in ("rescue", "move", "hold", "seize", "adopt", "reparent")]
    held = st.builds(Deed, what=st.sampled_from(holding), which=st.integers(0, 50), at=st.just(0))
    kills = st.builds(
        Kill,
        how=st.sampled_from(["report", "clock", "cut", "cut in a batch", "cut at a commit", "lost answer"]),
        at=st.integers(1, 8),
    )
    return Example(
        key=draw(st.sampled_from(sorted(KEYS))),
        rows=draw(st.lists(ROWS, min_size=8 if is_killed else 0, max_size=40)),
        copies=draw(st.sampled_from([3, 10] if is_killed else [1, 3, 10])),
        is_vacuumed=draw(st.booleans()),
        is_analyzed=draw(st.booleans()),
        rule=rule,
        by_keys="held" in rule or draw(st.booleans()),
        pace=draw(st.sampled_from(Pace)),
        is_indexed=draw(st.booleans()),
        family=family,
        limit=draw(st.integers(0, 60) if is_limited else st.none() | st.integers(0, 60)),
        # With a slow clock batches are small, with a quick one they grow.
        seconds_per_tick=draw(st.sampled_from([0.0001, 0.01, 0.5])),
        deeds=draw(st.lists(deeds, max_size=8)),
        held=draw(st.none() | held),
        kill=draw(kills) if is_killed else None,
    )


class KilledError(Exception):
    """What an orchestrator raises to interrupt a run."""


def never(*_: object) -> None:
    """Do nothing."""


class Site:
    """One example's tables, and those who work on them besides the purge."""

    def __init__(self, url: str, sql: psycopg.Connection[Any], example: Example) -> None:
        self.url, self.sql, self.example = url, sql, example
        self.key = KEYS[example.key]
        self.numbers = count(10_000)
        self.create_tables()
        self.watch_deletions()
        self.fill()
        self.expected = {table: self.count(table) for table in example.tables}

    def create_tables(self) -> None:
        self.sql.execute("DROP TABLE IF EXISTS bit, piece, hold, holder, thing, gone")
        self.sql.execute("DROP SEQUENCE IF EXISTS deletions")
        self.sql.execute("TRUNCATE maintenance.ledger_event")
        key, family = self.example.key, self.example.family
        self.sql.execute(
            f"CREATE TABLE thing (id {key} PRIMARY KEY, number int UNIQUE, seen_at timestamp, owner text, note text)"
        )
        self.sql.execute(f"CREATE TABLE hold (thing_id {key} PRIMARY KEY REFERENCES thing)")
        self.sql.execute("CREATE TABLE holder (owner text PRIMARY KEY, is_held boolean NOT NULL)")
        self.sql.execute("INSERT INTO holder SELECT unnest(%s::text[]), false", (list(OWNERS),))
        if family is None:
            return
        reference = f"REFERENCES thing ON DELETE {family.on_delete}"
        self.sql.execute(f"CREATE TABLE piece (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, up {key} {reference})")
        if family.is_indexed:
            self.sql.execute("CREATE INDEX ON piece (up)")
        if family.is_deep:
            reference = f"REFERENCES piece ON DELETE {family.on_delete}"
            self.sql.execute(f"CREATE TABLE bit (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, up int {reference})")

    def watch_deletions(self) -> None:
        """Record each row as it goes: by whom, whether it matched at that moment, and whose child it was."""
        kill = self.example.kill
        cut = "PERFORM pg_terminate_backend(pg_backend_pid());"
        in_batch = cut if kill and kill.how == "cut in a batch" else ""
        at_commit = cut if kill and kill.how == "cut at a commit" else ""
        at = kill.at if kill else 0
        self.sql.execute("CREATE TABLE gone (run text, name text, key text, up text, matched boolean)")
        self.sql.execute("CREATE SEQUENCE deletions")
        who = "current_setting('application_name'), TG_TABLE_NAME"
        rule = RULES[self.example.rule].replace("r.", "OLD.")
        self.sql.execute(
            f"CREATE OR REPLACE FUNCTION watch_thing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"INSERT INTO gone VALUES ({who}, OLD.id::text, NULL, {rule}); "
            f"IF nextval('deletions') = {at} THEN {in_batch} NULL; END IF; RETURN OLD; END $$;"
            f"CREATE OR REPLACE FUNCTION watch_child() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"INSERT INTO gone VALUES ({who}, OLD.id::text, OLD.up::text, NULL); RETURN OLD; END $$;"
            f"CREATE OR REPLACE FUNCTION watch_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF nextval('deletions') = {at} THEN {at_commit} NULL; END IF; RETURN NULL; END $$;"
        )

    def fill(self) -> None:
        rows = self.example.rows * self.example.copies
        with self.sql.transaction():
            for number, row in enumerate(rows):
                self.insert(number, row.age, row.size, row.pieces)
        holes = [number for number, row in enumerate(rows) if row.is_hole]
        if self.example.family is not None:
            self.sql.execute(
                "DELETE FROM piece USING thing WHERE up = thing.id AND number = ANY(%s) "
                + ("AND NOT EXISTS (SELECT FROM bit WHERE bit.up = piece.id)" if self.example.family.is_deep else ""),
                (holes,),
            )
            self.sql.execute(
                "DELETE FROM thing WHERE number = ANY(%s) AND NOT EXISTS (SELECT FROM piece WHERE up = thing.id)",
                (holes,),
            )
        else:
            self.sql.execute("DELETE FROM thing WHERE number = ANY(%s)", (holes,))
        if self.example.is_vacuumed:
            self.sql.execute("VACUUM thing")
        if self.example.is_indexed:
            self.sql.execute("CREATE INDEX ON thing (seen_at)")
        if self.example.is_analyzed:
            self.sql.execute("ANALYZE thing")
        self.sql.execute("CREATE TRIGGER watch BEFORE DELETE ON thing FOR EACH ROW EXECUTE FUNCTION watch_thing()")
        self.sql.execute(
            "CREATE CONSTRAINT TRIGGER watch_commit AFTER DELETE ON thing DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION watch_commit()"
        )
        for child in self.example.tables[1:]:
            self.sql.execute(
                f"CREATE TRIGGER watch BEFORE DELETE ON {child} FOR EACH ROW EXECUTE FUNCTION watch_child()"
            )

    def insert(self, number: int, age: str, size: int, pieces: int) -> None:
        self.sql.execute(
            "INSERT INTO thing VALUES (%s, %s, %s, %s, repeat('x', %s))",
            (self.key(number), number, AGES[age], OWNERS[number % len(OWNERS)], size),
        )
        if self.example.family is not None and pieces:
            self.sql.execute("INSERT INTO piece (up) SELECT %s FROM generate_series(1, %s)", (self.key(number), pieces))
            if self.example.family.is_deep and number % 2:
                self.sql.execute("INSERT INTO bit (up) SELECT id FROM piece WHERE up = %s", (self.key(number),))

    def count(self, table: str, condition: str = "true") -> int:
        return int(self.value(f"SELECT count(*) FROM {table} r WHERE {condition}"))

    def value(self, query: str) -> Any:
        row = self.sql.execute(query).fetchone()
        assert row is not None
        return row[0]

    def act(self, deed: Deed, session: psycopg.Connection[Any]) -> None:
        """Do the deed, to a row that matches where it should come between the purge and its row."""
        if deed.what.startswith("insert"):
            for _ in range(3):
                self.insert(next(self.numbers), deed.what.removeprefix("insert "), 0, 0)
                self.expected["thing"] += 1
            return
        among = "true" if deed.what in ("expire", "release", "reparent") else RULES[self.example.rule]
        ids = [row[0] for row in self.sql.execute(f"SELECT id FROM thing r WHERE {among} ORDER BY number")]
        if not ids:
            return
        chosen = ids[deed.which % len(ids)]
        statements = {
            "rescue": "UPDATE thing SET seen_at = '2026-11-01' WHERE id = %(id)s",
            "expire": "UPDATE thing SET seen_at = '2026-01-01' WHERE id = %(id)s",
            "move": "UPDATE thing SET note = repeat('y', 700) WHERE id = %(id)s",
            "hold": "INSERT INTO hold VALUES (%(id)s) ON CONFLICT DO NOTHING",
            "release": "DELETE FROM hold WHERE thing_id = %(id)s",
            "seize": "UPDATE holder SET is_held = true WHERE owner = (SELECT owner FROM thing WHERE id = %(id)s)",
            "adopt": "INSERT INTO piece (up) VALUES (%(id)s)",
            "reparent": "UPDATE piece SET up = %(id)s WHERE id = (SELECT min(id) FROM piece)",
        }
        session.execute(statements[deed.what], {"id": chosen})
        if deed.what == "adopt":
            self.expected["piece"] += 1

    @contextlib.contextmanager
    def holding(self, deed: Deed | None) -> Iterator[None]:
        """Do the deed in a transaction; commit as soon as somebody waits for a lock, undo it if nobody does."""
        if deed is None:
            yield
            return
        ended = threading.Event()
        with psycopg.connect(self.url) as writer:
            before = dict(self.expected)
            self.act(deed, writer)
            added = {table: self.expected[table] - before[table] for table in before}
            committed: list[bool] = []

            def commit_when_awaited() -> None:
                with psycopg.connect(self.url, autocommit=True) as observer:
                    while not ended.wait(0.002):
                        if observer.execute(WAITING).fetchone() != (0,):
                            writer.commit()
                            committed.append(True)
                            return

            thread = threading.Thread(target=commit_when_awaited)
            thread.start()
            try:
                yield
            finally:
                ended.set()
                thread.join()
                writer.rollback()
                event(f"held: awaited {bool(committed)}")
                if not committed:
                    self.expected = {table: number - added[table] for table, number in self.expected.items()}

    def end_session(self, run: str) -> None:
        """End the run's sessions on the server, and wait for their end."""
        self.sql.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name = %s AND datname = current_database()",
            (run,),
        )

    def between_batches(self, run: str, number: int, kill: Kill | None, deeds: list[Deed]) -> None:
        for deed in deeds:
            if deed.at == number:
                self.act(deed, self.sql)
        if kill == Kill("report", number):
            raise KilledError
        if kill == Kill("cut", number):
            event("killed: cut")
            self.end_session(run)

    def run(self, run: str, kill: Kill | None, deeds: list[Deed]) -> Progress:
        """Purge in a process of its own, as it were: new engine, new connection, new run."""
        engine = open_engine(self.url, variable="CATH_DATABASE_URL", application_name=run)
        reports, ticks, commits = count(1), count(1), count(1)

        def report(table: str, done: int, total: int) -> None:
            del table, done, total
            self.between_batches(run, next(reports), kill, deeds)

        def clock() -> float:
            number = next(ticks)
            if kill == Kill("clock", number):
                raise KilledError
            return number * self.example.seconds_per_tick

        def lose_answer(connection: sa.Connection) -> None:
            if kill == Kill("lost answer", next(commits)):
                driver = connection.connection.driver_connection
                assert driver is not None
                driver.commit()
                driver.close()
                event("killed: lost answer")

        try:
            with Database(engine, sleep=never) as database:
                database.lock("cath/tidy")
                sa.event.listen(engine, "commit", lose_answer)
                if self.example.is_indexed:
                    database.transaction(lambda connection: connection.execute(sa.text("SET enable_seqscan = off")))
                ledger = Ledger(database=database, run_id=run, location="cath", job="tidy", dry_run=False, as_of=AS_OF)
                pace_limits = PACE_LIMITS[self.example.pace]
                # Long enough for the one who holds a lock to let it go, however busy the machine: whoever commits
                # after the purge's last look may leave a row that matches.
                patient = replace(pace_limits, limits=replace(pace_limits.limits, lock_seconds=30.0))
                pacer = Pacer(patient, sleep=never, clock=clock)
                purger = Purger(
                    database=database,
                    ledger=ledger,
                    job="tidy",
                    run_id=run,
                    report=report,
                    pacer=pacer,
                    clock=clock,
                )
                return purger.delete(describe(self.example), limit=self.example.limit)
        finally:
            engine.dispose()
            self.end_session(run)

    def check(self, run: str, progress: Progress | None) -> None:
        """Hold what the database and the ledger say after a run against what must be."""
        example = self.example
        assert self.count("gone", "name = 'thing' AND NOT matched") == 0, "a row went that did not match"
        if example.limit is not None:
            assert self.count("gone", f"name = 'thing' AND run = '{run}'") <= example.limit, "more went than the limit"
        declared = example.family is not None and example.family.is_declared
        for table, expected in self.expected.items():
            gone = expected - self.count(table)
            recorded = self.value(
                f"SELECT coalesce(sum(deleted), 0) FROM maintenance.purge_ledger WHERE table_name = '{table}'"
            )
            assert gone == self.count("gone", f"name = '{table}'"), f"rows of {table} went unseen"
            assert recorded == (gone if table == "thing" or declared else 0), f"the ledger is wrong about {table}"
        for child, parent in zip(example.tables[1:], example.tables, strict=False):
            orphaned = f"name = '{child}' AND up IN (SELECT id::text FROM {parent})"
            assert self.count("gone", orphaned) == 0, f"a row of {child} went whose parent is there"
        if progress is None:
            return
        event(f"gave up: {progress.gave_up}, reached limit: {progress.reached_limit}")
        event(f"way: {describe_access(progress.accessed.as_details())}")
        assert progress.rows_left in (None, self.count("thing"))
        if not (progress.gave_up or progress.reached_limit):
            matches, is_held = RULES[example.rule], "EXISTS (SELECT FROM piece WHERE piece.up = r.id)"
            assert self.count("thing", f"{matches} AND NOT {is_held}" if example.may_be_refused else matches) == 0, (
                "a matching row was left that nothing keeps"
            )


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def describe(example: Example) -> Purge:
    """Return the purge, as a service would write it."""
    metadata = sa.MetaData()
    key_type = {"integer": sa.Integer, "text": sa.Text, "uuid": sa.Uuid}[example.key]
    thing = sa.Table(
        "thing",
        metadata,
        sa.Column("id", key_type, primary_key=True),
        sa.Column("seen_at", sa.DateTime),
        sa.Column("owner", sa.Text),
    )
    hold = sa.Table("hold", metadata, sa.Column("thing_id", key_type, primary_key=True))
    holder = sa.Table(
        "holder", metadata, sa.Column("owner", sa.Text, primary_key=True), sa.Column("is_held", sa.Boolean)
    )
    piece = sa.Table("piece", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("up", key_type))
    bit = sa.Table("bit", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("up", sa.Integer))
    is_old = thing.c.seen_at < CUTOFF
    predicates = {
        "old": is_old,
        "old or undated": sa.or_(thing.c.seen_at.is_(None), is_old),
        "old and not held": sa.and_(is_old, ~sa.exists().where(hold.c.thing_id == thing.c.id)),
        "old and its owner not held": sa.and_(
            is_old, ~sa.exists().where(holder.c.owner == thing.c.owner, holder.c.is_held)
        ),
    }
    children: tuple[Child, ...] = ()
    if example.family is not None and example.family.is_declared:
        children = (Child(piece, piece.c.up, (Child(bit, bit.c.up),) if example.family.is_deep else ()),)
    owners_in_order = sa.select(holder).order_by(holder.c.owner).with_for_update()
    return Purge(
        table=thing,
        rule=example.rule,
        predicate=predicates[example.rule],
        cutoff=CUTOFF.replace(tzinfo=UTC),
        age=thing.c.seen_at,
        reads_other_rows=example.by_keys,
        lock_others=(lambda keys: [owners_in_order]) if "owner" in example.rule else None,
        children=children,
    )


def purge_twice(url: str, sql: psycopg.Connection[Any], example: Example) -> None:
    """Disturb the first run, leave the second alone, and check after each."""
    site = Site(url, sql, example)
    progress = None
    with contextlib.suppress(KilledError), site.holding(example.held):
        progress = site.run("tidy:run-1", example.kill, example.deeds)
    event(f"first run completed: {progress is not None}")
    site.check("tidy:run-1", progress)
    site.check("tidy:run-2", site.run("tidy:run-2", None, []))


@pytest.fixture
def sql(cath_url: str) -> Iterator[psycopg.Connection[Any]]:
    # Every example makes its tables anew: a plan kept would be another table's.
    with psycopg.connect(cath_url, autocommit=True, prepare_threshold=None) as connection:
        yield connection


pytestmark = pytest.mark.timeout(900)
"""An example that fails is made small first, which takes minutes."""

LOST_ANSWER = Example(
    key="integer",
    rows=[Row(age="old", size=0, is_hole=False, pieces=0)] * 20,
    copies=5,
    is_vacuumed=False,
    is_analyzed=False,
    rule="old",
    by_keys=False,
    pace=Pace.BULK,
    is_indexed=False,
    family=None,
    limit=20,
    seconds_per_tick=0.0001,
    deeds=[],
    held=None,
    kill=Kill("lost answer", 3),
)
"""The first batch commits, and the purge does not hear of it."""

ONE_DATABASE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
"""All examples of a test share its database, and drop each other's tables."""


@settings(suppress_health_check=ONE_DATABASE)
@given(example=examples(rules=("old", "old or undated")))
def test_takes_the_rows_that_match_and_no_other_while_others_write(
    cath_url: str, sql: psycopg.Connection[Any], example: Example
) -> None:
    purge_twice(cath_url, sql, example)


@settings(suppress_health_check=ONE_DATABASE)
@given(example=examples(rules=("old and not held", "old and its owner not held")))
def test_takes_no_row_that_another_table_holds(cath_url: str, sql: psycopg.Connection[Any], example: Example) -> None:
    purge_twice(cath_url, sql, example)


@settings(suppress_health_check=ONE_DATABASE)
@given(example=examples(is_killed=True))
def test_loses_and_repeats_nothing_when_killed_and_run_again(
    cath_url: str, sql: psycopg.Connection[Any], example: Example
) -> None:
    purge_twice(cath_url, sql, example)


@settings(suppress_health_check=ONE_DATABASE)
@given(example=examples(is_killed=True, is_limited=True))
@hypothesis.example(example=LOST_ANSWER)
def test_takes_no_more_than_its_limit_whatever_happens(
    cath_url: str, sql: psycopg.Connection[Any], example: Example
) -> None:
    purge_twice(cath_url, sql, example)
