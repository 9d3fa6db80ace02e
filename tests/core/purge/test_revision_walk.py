"""How far the next statement of a revision's walk may reach."""

import sqlalchemy as sa

from cath_dagster.core.postgres.heap import Heap
from cath_dagster.core.purge.heap_walk import MAX_BLOCKS
from cath_dagster.core.purge.revision_walk import ASSUMED_ROW_SECONDS, TELLING_ROWS, Reach, is_worth_a_walk

TARGET_SECONDS = 0.08


def test_the_first_statement_stays_short_though_rows_cost_what_is_assumed() -> None:
    assert 0 < Reach.first(30, TARGET_SECONDS).blocks * 30 * ASSUMED_ROW_SECONDS <= TARGET_SECONDS


def test_reaches_further_where_rows_are_cheap_but_not_at_once() -> None:
    reach = Reach.first(30, TARGET_SECONDS)

    assert reach.blocks < reach.after(0.001, 10_000).blocks <= 4 * reach.blocks


def test_does_not_reach_over_more_rows_than_could_be_changed_in_time() -> None:
    reach = Reach.first(30, TARGET_SECONDS)
    for _ in range(20):
        # Ten rows in a thousand matched, and cost a millisecond each.
        reach = reach.after(TELLING_ROWS * 0.001, TELLING_ROWS)

    assert reach.blocks * 30 * 0.001 <= TARGET_SECONDS or reach.blocks == 1


def test_shrinks_at_once_where_rows_turn_out_to_cost_more() -> None:
    reach = Reach.first(30, TARGET_SECONDS).after(0.001, 10_000).after(0.001, 10_000)

    assert reach.after(2.0, 1_000).blocks == 1


def test_learns_nothing_from_a_few_rows() -> None:
    assert Reach.first(30, TARGET_SECONDS).after(5.0, TELLING_ROWS - 1).row_seconds == ASSUMED_ROW_SECONDS


def test_has_an_end() -> None:
    reach = Reach.first(1, TARGET_SECONDS)
    for _ in range(40):
        reach = reach.after(1e-9, TELLING_ROWS)

    assert reach.blocks == MAX_BLOCKS


def test_takes_a_part_of_what_timed_out() -> None:
    assert Reach.first(1, TARGET_SECONDS).after_timeout(100).blocks == 25
    assert Reach.first(1, TARGET_SECONDS).after_timeout(1).blocks == 1


def heap(blocks: int, density: int = 30) -> Heap:
    table = sa.Table("entry", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    return Heap(table, blocks, density, has_statistics=True, filenode=1, bytes=blocks * 8192)


def test_a_few_rows_of_a_large_table_are_not_worth_a_walk() -> None:
    assert not is_worth_a_walk(100, heap(40_000))
    assert is_worth_a_walk(400_000, heap(40_000))
    assert is_worth_a_walk(1_000, heap(40))
