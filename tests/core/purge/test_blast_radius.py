"""The guard that refuses what looks like a mistake: counted on small tables, estimated on large ones."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.model.purge import Child, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.purge import blast_radius
from cath_dagster.core.purge.blast_radius import Measure, measure
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from tests.support.service import Service, outcome

METADATA = sa.MetaData()
entry = sa.Table("entry", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("is_old", sa.Boolean))
part = sa.Table("part", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("entry_id", sa.Integer))
letter = sa.Table("letter", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("is_old", sa.Boolean))

OLD_ENTRIES = Purge(table=entry, rule="old entries", predicate=entry.c.is_old)
OLD_LETTERS = Purge(table=letter, rule="old letters", predicate=letter.c.is_old)


def purging(*purges: Purge) -> Callable[[JobRun, JobSettings], None]:
    def work(run: JobRun, settings: JobSettings) -> None:
        del settings
        for planned in run.plan(*purges):
            run.purge(planned)

    return work


SPEC = JobSpec(
    location=CATH,
    name="tidy",
    schedule=Cron("0 1 * * *"),
    owner="team:test",
    summary="Tidies.",
    description="Tidies.",
    settings=JobSettings,
    run=purging(OLD_ENTRIES),
    database=DatabaseWork(
        targets=("entry",),
    ),
)


def run_tidy(service: Service, *purges: Purge, **config: Any) -> RunResult:
    return execute(
        replace(SPEC, run=purging(*(purges or (OLD_ENTRIES,)))),
        {"as_of": service.as_of, **config},
        run_id=str(uuid.uuid4()),
        now=service.as_of,
        backends=EnvironmentBackends("CATH", service.environ),
        reporter=service.reporter,
    )


@pytest.fixture
def bench(service: Service) -> Service:
    """CaTH with the empty tables `entry` and `letter`; few rows fit a block of `entry`."""
    service.connection.execute("CREATE TABLE entry (id int PRIMARY KEY, is_old boolean) WITH (fillfactor = 10)")
    service.connection.execute("CREATE TABLE letter (id int PRIMARY KEY, is_old boolean)")
    return service


def fill(service: Service, old: int, rows: int, table: str = "entry") -> None:
    service.connection.execute(f"INSERT INTO {table} SELECT n, n <= {old} FROM generate_series(1, {rows}) n")


# The two limits


@pytest.mark.parametrize(
    ("old", "rows"),
    [(10_000, 10_000), (10_001, 20_002), (10_001, 30_000), (1, 1)],
    ids=["ten thousand rows", "half of the table", "a third of the table", "a tiny table"],
)
def test_allows(bench: Service, old: int, rows: int) -> None:
    fill(bench, old, rows)

    result = run_tidy(bench)

    assert result.status is Status.SUCCESS
    assert outcome(result, "entry").deleted == old
    assert bench.count("entry") == rows - old


@pytest.mark.parametrize(
    ("old", "rows"), [(10_001, 10_001), (10_001, 20_001)], ids=["all of the table", "a row more than half"]
)
def test_refuses(bench: Service, old: int, rows: int) -> None:
    fill(bench, old, rows)

    result = run_tidy(bench)

    assert result.status is Status.REFUSED
    assert bench.count("entry") == rows
    assert outcome(result, "entry").deleted == 0


def test_says_what_would_be_deleted_and_how_to_allow_it(bench: Service) -> None:
    fill(bench, 10_001, 12_000)

    result = run_tidy(bench)

    assert "10,001 of 12,000" in (result.error or "")
    assert "entry" in (result.error or "")
    assert "allow_large: true" in (result.error or "")


def test_keeps_a_refused_run_in_the_ledger(bench: Service) -> None:
    fill(bench, 10_001, 12_000)

    run_tidy(bench)

    kept = bench.rows("SELECT matched, deleted, outcome FROM maintenance.purge_ledger WHERE table_name = 'entry'")
    assert kept == [(10_001, 0, "refused")]


def test_does_what_was_allowed_for_one_run(bench: Service) -> None:
    fill(bench, 10_001, 12_000)

    result = run_tidy(bench, allow_large=True)

    assert result.status is Status.SUCCESS
    assert bench.count("entry") == 1_999


def test_refuses_the_whole_run_for_one_of_its_tables(bench: Service) -> None:
    fill(bench, 3, 5)
    fill(bench, 10_001, 10_001, "letter")

    result = run_tidy(bench, OLD_ENTRIES, OLD_LETTERS)

    assert result.status is Status.REFUSED
    assert "letter" in (result.error or "")
    assert (bench.count("entry"), bench.count("letter")) == (5, 10_001)


@pytest.mark.parametrize("on_delete", ["CASCADE", "RESTRICT"])
def test_refuses_a_run_for_the_children_it_would_take_along(bench: Service, on_delete: str) -> None:
    bench.connection.execute(
        f"CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry ON DELETE {on_delete})"
    )
    fill(bench, 1, 10)
    bench.connection.execute("INSERT INTO part SELECT n, 1 FROM generate_series(1, 10001) n")

    result = run_tidy(bench, replace(OLD_ENTRIES, children=(Child(part, part.c.entry_id),)))

    assert result.status is Status.REFUSED
    assert "part" in (result.error or "")
    assert (bench.count("entry"), bench.count("part")) == (10, 10_001)


@pytest.mark.parametrize(("rows", "refused"), [(10_001, True), (10_000, False)])
def test_says_in_a_dry_run_whether_the_run_would_be_refused(bench: Service, rows: int, refused: bool) -> None:
    fill(bench, rows, rows)

    result = run_tidy(bench, dry_run=True)

    assert result.status is Status.SUCCESS
    assert (result.would_refuse is not None) == refused
    assert outcome(result, "entry").matched == rows
    assert bench.count("entry") == rows


def test_would_not_refuse_in_a_dry_run_what_is_allowed(bench: Service) -> None:
    fill(bench, 10_001, 10_001)

    assert run_tidy(bench, dry_run=True, allow_large=True).would_refuse is None


# Sampling


@pytest.fixture
def database(service: Service) -> Iterator[Database]:
    with Database(open_engine(service.url, variable="CATH_DATABASE_URL", application_name="measure")) as opened:
        yield opened


@pytest.fixture
def sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample what would be counted, since tables as large as sampled ones take long to make."""
    monkeypatch.setattr(blast_radius, "EXACT_BLOCKS", 50)
    monkeypatch.setattr(blast_radius, "SAMPLED_BLOCKS", 200)


def measures(database: Database, times: int, *, exact: bool = False) -> list[Measure]:
    return [
        database.transaction(lambda connection: measure(connection, entry, entry.c.is_old, exact=exact))
        for _ in range(times)
    ]


def within_margin(found: list[Measure], matched: int) -> int:
    return sum(abs(item.matched - matched) <= item.margin for item in found)


@pytest.mark.usefixtures("sampling")
def test_estimates_a_large_table(bench: Service, database: Database) -> None:
    bench.connection.execute("INSERT INTO entry SELECT n, n % 5 > 0 FROM generate_series(1, 40000) n")

    (found,) = measures(database, 1)

    assert not found.is_exact
    assert 24_000 < found.matched < 40_000
    assert 0.7 < found.share < 0.9


@pytest.mark.usefixtures("sampling")
@pytest.mark.parametrize(
    ("condition", "matched", "within"),
    [
        ("n % 5 > 0", 32_000, 30),
        ("n <= 30000", 30_000, 30),
        # What matches lies in so few of the blocks that nine times of ten is what a sample of them gives.
        ("random() < 2 AND n > 39000", 1_000, 26),
        ("true", 40_000, 30),
    ],
    ids=["evenly spread", "in one part of the table", "few", "all"],
)
def test_lies_within_its_stated_margin_nineteen_times_of_twenty(
    bench: Service, database: Database, condition: str, matched: int, within: int
) -> None:
    """Of 40 estimates 38 are expected within the margin, 36 of the rare rows; fewer than told do not happen by chance."""
    bench.connection.execute(f"INSERT INTO entry SELECT n, {condition} FROM generate_series(1, 40000) n")

    found = measures(database, 40)

    assert any(not item.is_exact for item in found)
    assert within_margin(found, matched) >= within


@pytest.mark.usefixtures("sampling")
def test_states_a_margin_that_is_of_use(bench: Service, database: Database) -> None:
    bench.connection.execute("INSERT INTO entry SELECT n, n % 5 > 0 FROM generate_series(1, 40000) n")

    assert max(item.margin for item in measures(database, 5)) < 8_000


@pytest.mark.usefixtures("sampling")
def test_counts_a_large_table_where_asked_to(bench: Service, database: Database) -> None:
    fill(bench, 32_000, 40_000)

    (found,) = measures(database, 1, exact=True)

    assert (found.matched, found.rows, found.margin) == (32_000, 40_000, 0)


@pytest.mark.usefixtures("sampling")
@pytest.mark.parametrize(("old", "rows"), [(10_001, 19_000), (20_001, 40_001)], ids=["rows", "share"])
def test_counts_where_an_estimate_lies_near_a_limit(bench: Service, database: Database, old: int, rows: int) -> None:
    bench.connection.execute(
        f"INSERT INTO entry SELECT n, n <= {old} FROM generate_series(1, {rows}) n ORDER BY hashint4(n)"
    )

    found = measures(database, 20)

    assert sum(item.is_exact and item.matched == old for item in found) >= 15
    assert sum(item.is_too_large for item in found) >= 15


@pytest.mark.usefixtures("sampling")
def test_refuses_a_table_full_of_old_rows_just_above_the_limit(bench: Service, database: Database) -> None:
    """All rows match, so that the sampled blocks are alike; how many rows there are is uncertain still."""
    fill(bench, 10_200, 10_200)

    assert sum(item.is_too_large for item in measures(database, 30)) >= 25


@pytest.mark.usefixtures("sampling")
def test_does_not_take_a_sample_without_rows_for_a_count(
    bench: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most blocks are empty after an earlier purge, since the file keeps its size."""
    fill(bench, 200_000, 200_000)
    bench.connection.execute("DELETE FROM entry WHERE id < 189000")
    monkeypatch.setattr(blast_radius, "SAMPLED_BLOCKS", 20)

    assert not [item for item in measures(database, 30) if item.is_exact and item.matched != 11_001]


@pytest.mark.usefixtures("sampling")
def test_counts_in_a_dry_run(bench: Service) -> None:
    fill(bench, 32_000, 40_000)

    result = run_tidy(bench, dry_run=True)

    assert outcome(result, "entry").matched == 32_000


@pytest.mark.usefixtures("sampling")
def test_refuses_by_an_estimate(bench: Service) -> None:
    fill(bench, 38_000, 40_000)

    result = run_tidy(bench)

    assert result.status is Status.REFUSED
    assert bench.count("entry") == 40_000


@pytest.mark.usefixtures("sampling")
def test_reports_after_an_estimate_what_it_really_deleted(bench: Service) -> None:
    fill(bench, 9_000, 40_000)

    result = run_tidy(bench, allow_large=True)

    assert (outcome(result, "entry").matched, outcome(result, "entry").deleted) == (9_000, 9_000)
