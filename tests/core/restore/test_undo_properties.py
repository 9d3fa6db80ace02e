"""What holds of every purge that can be undone: plan, run, ledger, explain and restore say the same, and restore keeps its word.

An example draws a schema, which rows there are, and what others delete before the restore.
"""

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.core.archive.obstacles import PERSONAL
from cath_dagster.core.inspection.explain import Explanation, explain
from cath_dagster.core.model.outcome import Outcome, RunResult, Status
from cath_dagster.core.model.purge import Child, Planning, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.restore.preparation import Request
from cath_dagster.core.restore.restore import restore
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from tests.support.maintained import SilentReporter

AS_OF = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
WORDS = ("", "plain", "two\nlines", "żółć 🙂", "'quoted' \"twice\" %s")
TABLES = ("item", "part", "bit", "mention")


@dataclass(frozen=True)
class Schema:
    """`part` goes along with `item`, `bit` with `part`; `mention` is set to null, `holder` keeps its item; items have owners."""

    partitions: int
    has_long_key: bool
    """Whether the key of `item` has a second column, so that nothing can refer to it."""
    part: str
    """What the key of `part` does ON DELETE; empty without that table."""
    has_long_part_key: bool
    has_bits: bool
    has_mentions: bool
    refers_to_itself: bool
    has_main_part: bool
    """Whether an item refers to one of its parts: a cycle."""
    is_deferred: bool
    holder: str
    """What the key of a table that the job does not know does ON DELETE; empty without that table."""

    @property
    def has_family(self) -> bool:
        return not self.has_long_key

    @property
    def has_parts(self) -> bool:
        return self.has_family and bool(self.part)

    @property
    def has_long_child(self) -> bool:
        # A column of a key cannot be set to null.
        return self.has_long_part_key and self.part != "SET NULL"

    @property
    def tables(self) -> list[str]:
        is_there = {
            "item": True,
            "part": self.has_parts,
            "bit": self.has_parts and self.has_bits and not self.has_long_child,
            "mention": self.has_family and self.has_mentions,
        }
        return [table for table in TABLES if is_there[table]]


@dataclass(frozen=True)
class Row:
    is_old: bool
    owner: int
    word: str
    parts: int
    is_held: bool
    beside: int
    """The number of the item that it refers to."""


@dataclass(frozen=True)
class Example:
    schema: Schema
    rows: list[Row]
    copies: int
    lost_owners: frozenset[int]
    came_back: frozenset[int]
    """Items that somebody makes again before the restore."""


schemas = st.builds(
    Schema,
    partitions=st.sampled_from([0, 0, 1, 3]),
    has_long_key=st.sampled_from([False, False, False, True]),
    part=st.sampled_from(["", "CASCADE", "CASCADE", "RESTRICT", "NO ACTION", "SET NULL"]),
    has_long_part_key=st.booleans(),
    has_bits=st.booleans(),
    has_mentions=st.booleans(),
    refers_to_itself=st.booleans(),
    has_main_part=st.booleans(),
    is_deferred=st.booleans(),
    holder=st.sampled_from(["", "NO ACTION", "RESTRICT"]),
)
rows = st.builds(
    Row,
    is_old=st.sampled_from([True, True, False]),
    owner=st.integers(1, 3),
    word=st.sampled_from(WORDS),
    parts=st.integers(0, 2),
    is_held=st.sampled_from([False, False, True]),
    beside=st.integers(0, 9),
)
examples = st.builds(
    Example,
    schema=schemas,
    rows=st.lists(rows, max_size=6),
    copies=st.sampled_from([1] * 7 + [100]),
    lost_owners=st.frozensets(st.integers(1, 3), max_size=2),
    came_back=st.frozensets(st.integers(1, 6), max_size=1),
)


class Site:
    """One example's tables, and the job that purges them."""

    def __init__(self, url: str, sql: psycopg.Connection[Any], example: Example) -> None:
        self.url, self.sql, self.example = url, sql, example
        self.create_tables()
        self.fill()
        self.spec = specify(example.schema)

    def create_tables(self) -> None:
        schema = self.example.schema
        deferred = " DEFERRABLE INITIALLY DEFERRED" if schema.is_deferred else ""
        self.sql.execute("DROP TABLE IF EXISTS holder, mention, bit, part, item, owner CASCADE")
        self.sql.execute(
            "TRUNCATE maintenance.ledger_event, maintenance.archived_rows, maintenance.restored_row, maintenance.deleted_key"
        )
        self.sql.execute("CREATE TABLE owner (id int PRIMARY KEY)")
        key = "id, at" if schema.has_long_key else "id"
        parted = "PARTITION BY HASH (id)" if schema.partitions else ""
        self.sql.execute(
            f"CREATE TABLE item (id int, at int DEFAULT 7, is_old boolean, owner_id int REFERENCES owner, word text, beside int,"
            f" main_id int, twice int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY ({key})) {parted}"
        )
        for number in range(schema.partitions):
            bounds = f"WITH (MODULUS {schema.partitions}, REMAINDER {number})"
            self.sql.execute(f"CREATE TABLE item_{number} PARTITION OF item FOR VALUES {bounds}")
        if schema.refers_to_itself and schema.has_family:
            self.sql.execute(
                f"ALTER TABLE item ADD CONSTRAINT beside FOREIGN KEY (beside) REFERENCES item ON DELETE SET NULL{deferred}"
            )
        if "part" in schema.tables:
            key = "PRIMARY KEY (up, number)" if schema.has_long_child else "PRIMARY KEY (id)"
            self.sql.execute(
                f"CREATE TABLE part (id int, up int REFERENCES item ON DELETE {schema.part}{deferred}, number int, word text, {key})"
            )
        if schema.has_main_part and "part" in schema.tables and not schema.has_long_child:
            self.sql.execute(
                f"ALTER TABLE item ADD CONSTRAINT main FOREIGN KEY (main_id) REFERENCES part ON DELETE SET NULL{deferred}"
            )
        if "bit" in schema.tables:
            self.sql.execute(
                "CREATE TABLE bit (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, up int REFERENCES part ON DELETE CASCADE)"
            )
        if schema.holder and schema.has_family:
            self.sql.execute(f"CREATE TABLE holder (up int REFERENCES item ON DELETE {schema.holder}{deferred})")
        if "mention" in schema.tables:
            self.sql.execute("CREATE TABLE mention (id int PRIMARY KEY, up int REFERENCES item ON DELETE SET NULL)")

    def fill(self) -> None:
        schema, rows = self.example.schema, self.example.rows * self.example.copies
        self.sql.execute("INSERT INTO owner VALUES (1), (2), (3)")
        items = [(number, row.is_old, row.owner, row.word) for number, row in enumerate(rows, start=1)]
        parts = [
            (10 * number + k, number, k, row.word) for number, row in enumerate(rows, start=1) for k in range(row.parts)
        ]
        with self.sql.transaction(), self.sql.cursor() as cursor:
            cursor.executemany("INSERT INTO item (id, is_old, owner_id, word) VALUES (%s, %s, %s, %s)", items)
            if "part" in schema.tables:
                cursor.executemany("INSERT INTO part VALUES (%s, %s, %s, %s)", parts)
                if schema.has_main_part:
                    cursor.execute("UPDATE item SET main_id = 10 * id WHERE id IN (SELECT up FROM part)")
            if "bit" in schema.tables:
                cursor.execute("INSERT INTO bit (up) SELECT id FROM part, generate_series(1, 2)")
            if schema.holder and schema.has_family:
                held = [(number,) for number, row in enumerate(rows, start=1) if row.is_held]
                cursor.executemany("INSERT INTO holder VALUES (%s)", held)
            if "mention" in schema.tables:
                cursor.execute("INSERT INTO mention SELECT id, id FROM item")
            if schema.refers_to_itself and rows:
                beside = [(1 + (number + row.beside) % len(rows), number) for number, row in enumerate(rows, start=1)]
                cursor.executemany("UPDATE item SET beside = %s WHERE id = %s", beside)

    def run(self, *, dry_run: bool) -> RunResult:
        return execute(
            self.spec,
            {"as_of": AS_OF, "dry_run": dry_run, "undo_days": 30, "allow_large": True},
            run_id=str(uuid.uuid4()),
            now=AS_OF,
            backends=EnvironmentBackends("CATH", {"CATH_DATABASE_URL": self.url}),
            reporter=SilentReporter(),
        )

    def restore(self, run_id: str, *, dry_run: bool) -> RunResult:
        with self.database() as database:
            return restore(
                database,
                CATH,
                [self.spec],
                Request(run_id=run_id, dry_run=dry_run),
                restore_id=str(uuid.uuid4()),
                now=AS_OF + timedelta(days=1),
                report=lambda table, done, total: None,
            )

    def explain(self, table: str, key: str, *, now: datetime) -> Explanation:
        with self.database() as database:
            return explain(database, [self.spec], table, key, now=now, environ={})

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        engine = open_engine(self.url, variable="CATH_DATABASE_URL", application_name="tidy:properties")
        try:
            with Database(engine) as database:
                yield database
        finally:
            engine.dispose()

    def contents(self) -> dict[str, dict[str, bytes]]:
        """Return by table every row by its key, as the server sends it in binary; of items without `references`."""
        rows = {table: f"{table}" for table in self.example.schema.tables}
        rows["item"] = "(SELECT id, at, is_old, owner_id, word, twice FROM item) AS item"
        return {
            table: dict(self.sql.execute(f"SELECT {self.key(table)}, record_send({table}) FROM {source}").fetchall())
            for table, source in rows.items()
        }

    def references(self) -> dict[str, dict[str, str | None]]:
        """Return by item, and by the table that it is in, which row it refers to by a key that sets null."""
        query = "SELECT id::text, beside::text, main_id::text FROM item"
        return {key: {"item": beside, "part": main} for key, beside, main in self.sql.execute(query).fetchall()}

    def key(self, table: str) -> str:
        if table == "part" and self.example.schema.has_long_child:
            return "to_json(ARRAY[up::text, number::text])::text"
        return "id::text"

    def change_before_the_restore(self, gone: dict[str, set[str]]) -> None:
        """Delete owners to whom nothing refers any more, and make items again."""
        self.sql.execute(
            "DELETE FROM owner WHERE id = ANY(%s) AND id NOT IN (SELECT owner_id FROM item)",
            (list(self.example.lost_owners),),
        )
        for number in self.example.came_back:
            if str(number) in gone["item"]:
                self.sql.execute("INSERT INTO item (id, word) VALUES (%s, 'made again')", (number,))


def specify(schema: Schema) -> JobSpec:
    """Return the job, as a service would write it."""
    metadata = sa.MetaData()
    info: dict[Any, Any] = {PERSONAL: ()}
    item = sa.Table(
        "item", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("is_old", sa.Boolean), info=info
    )
    is_long = schema.has_long_child
    part = sa.Table(
        "part",
        metadata,
        sa.Column("id", sa.Integer, primary_key=not is_long),
        sa.Column("up", sa.Integer, primary_key=is_long),
        sa.Column("number", sa.Integer, primary_key=is_long),
        info=info,
    )
    bit = sa.Table(
        "bit", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("up", sa.Integer), info=info
    )
    children: tuple[Child, ...] = ()
    if "part" in schema.tables:
        children = (Child(part, part.c.up, (Child(bit, bit.c.up),) if "bit" in schema.tables else ()),)
    purge = Purge(table=item, rule="old items", predicate=item.c.is_old, children=children)

    def purges(planning: Planning, given: PurgeSettings) -> list[Purge]:
        del planning, given
        return [purge]

    def run(job: JobRun, given: PurgeSettings) -> None:
        for planned in job.plan(*purges(job, given)):
            job.purge(planned)

    return JobSpec(
        location=CATH,
        name="tidy",
        schedule=Cron("0 1 * * *"),
        owner="team:test",
        summary="Tidies.",
        description="Tidies.",
        settings=PurgeSettings,
        run=run,
        database=DatabaseWork(
            targets=("item",),
            purges=purges,
            privileges={table: ("SELECT", "UPDATE", "DELETE") for table in schema.tables if table != "mention"},
        ),
    )


def counts(result: RunResult, name: str) -> dict[str, int]:
    return {done.target: getattr(done, name) for done in result.outcomes if getattr(done, name)}


def kept(example: Example) -> dict[str, int]:
    """Return how many items are due and held."""
    schema = example.schema
    if not (schema.holder and schema.has_family):
        return {}
    count = sum(row.is_old and row.is_held for row in example.rows) * example.copies
    return {"item": count} if count else {}


def foretold(result: RunResult) -> dict[str, tuple[int, int, int]]:
    return {done.target: (done.matched, done.failed, done.skipped) for done in result.outcomes}


def hold_to_its_word(url: str, sql: psycopg.Connection[Any], example: Example) -> None:
    site = Site(url, sql, example)
    before, referred = site.contents(), site.references()
    some = {table: sorted(found)[:3] for table, found in before.items() if table != "mention"}
    foreseen = {(table, key): site.explain(table, key, now=AS_OF) for table, keys in some.items() for key in keys}

    preview = site.run(dry_run=True)
    result = site.run(dry_run=False)

    assert (preview.status, result.status, result.error) == (Status.SUCCESS, Status.SUCCESS, None)
    after = site.contents()
    gone = {table: set(rows) - set(after[table]) for table, rows in before.items()}
    went = {table: len(keys) for table, keys in gone.items() if keys}
    assert counts(preview, "matched") == counts(result, "deleted") == went
    recorded = "SELECT table_name, deleted FROM maintenance.purge_ledger WHERE run_id = %s AND deleted > 0"
    assert dict(sql.execute(recorded, (result.run_id,)).fetchall()) == went
    assert counts(result, "kept") == kept(example)
    event(f"rows went: {bool(went)}, of {len(went)} tables")
    check_explanations(site, foreseen, gone, result.run_id)

    site.change_before_the_restore(gone)
    meanwhile = site.contents()
    foretelling = site.restore(result.run_id, dry_run=True) if went else None
    assert site.contents() == meanwhile
    if foretelling is None:
        return
    done = site.restore(result.run_id, dry_run=False)
    check_restore(site, before, meanwhile, gone, foretelling, done)
    check_references(site, referred, gone["item"] - set(meanwhile["item"]), is_whole=not done.left_out)


def check_explanations(
    site: Site, foreseen: dict[tuple[str, str], Explanation], gone: dict[str, set[str]], run_id: str
) -> None:
    for (table, key), told in foreseen.items():
        went = key in gone[table]
        assert any(forecast.matches_now for forecast in told.forecasts) == went, f"{table} {key} was not foreseen"
        now = site.explain(table, key, now=AS_OF)
        assert now.exists != went
        if went:
            assert now.is_certain
            assert [deletion.run_id for deletion in now.deletions] == [run_id]


def check_restore(
    site: Site,
    before: dict[str, dict[str, bytes]],
    meanwhile: dict[str, dict[str, bytes]],
    gone: dict[str, set[str]],
    foretelling: RunResult,
    done: RunResult,
) -> None:
    assert foretold(foretelling) == foretold(done), "the dry run told otherwise"
    assert (foretelling.status, foretelling.left_out) == (done.status, done.left_out)
    event(f"left out: {done.left_out > 0}")
    assert done.status is (Status.FAILED if done.left_out else Status.SUCCESS), done.error
    now = site.contents()
    outcomes: dict[str, Outcome] = {outcome.target: outcome for outcome in done.outcomes}
    for table, keys in gone.items():
        there = keys & set(meanwhile[table])
        back = (keys & set(now[table])) - there
        outcome = outcomes.get(table, Outcome(target=table))
        assert (outcome.restored, outcome.failed) == (len(back), len(keys) - len(there) - len(back))
        assert {key: now[table][key] for key in there} == {key: meanwhile[table][key] for key in there}
        if not done.left_out and not site.example.came_back:
            assert now[table] == before[table], f"rows of {table} are not what they were"
        else:
            assert {key: now[table][key] for key in back} == {key: before[table][key] for key in back}
        reasons = outcome.details.get("reasons", [])
        assert isinstance(reasons, list)
        assert sum(int(reason.partition(":")[0].replace(",", "")) for reason in reasons) == outcome.failed
    json.dumps(done.as_json())


def check_references(site: Site, before: dict[str, dict[str, str | None]], gone: set[str], *, is_whole: bool) -> None:
    """A reference that an earlier batch had set to null is set again, if the row that it names has come back too."""
    rows, now = site.contents(), site.references()
    for key in gone & set(now):
        for table, named in before[key].items():
            is_lost = named is not None and named not in rows.get(table, {}) and not is_whole
            assert now[key][table] == named or (now[key][table] is None and is_lost), f"{key} refers to another {table}"


@pytest.fixture
def sql(cath_url: str) -> Iterator[psycopg.Connection[Any]]:
    # Every example makes its tables anew: a plan kept would be another table's.
    with psycopg.connect(cath_url, autocommit=True, prepare_threshold=None) as connection:
        yield connection


pytestmark = pytest.mark.timeout(900)
"""An example that fails is made small first, which takes minutes."""


@settings(
    # An example plans, runs and restores, and asks after every row: half as many as elsewhere take long enough.
    max_examples=settings.default.max_examples // 2 if settings.default else 12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(example=examples)
def test_plan_run_ledger_explain_and_restore_say_the_same(
    cath_url: str, sql: psycopg.Connection[Any], example: Example
) -> None:
    hold_to_its_word(cath_url, sql, example)
