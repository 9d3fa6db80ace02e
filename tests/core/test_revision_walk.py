"""How far the next statement of a revision's walk may reach."""

from cath_dagster.core.revision_walk import (
    ASSUMED_ROW_SECONDS,
    MAX_BLOCKS,
    TARGET_SECONDS,
    TELLING_ROWS,
    Reach,
    is_worth_a_walk,
)


def test_the_first_statement_stays_short_though_rows_cost_what_is_assumed() -> None:
    assert 0 < Reach.first(30).blocks * 30 * ASSUMED_ROW_SECONDS <= TARGET_SECONDS


def test_reaches_further_where_rows_are_cheap_but_at_most_twice_as_far() -> None:
    reach = Reach.first(30)

    assert reach.after(0.001, 10_000).blocks == 2 * reach.blocks


def test_does_not_reach_over_more_rows_than_could_be_changed_in_time() -> None:
    reach = Reach.first(30)
    for _ in range(20):
        # Ten rows in a thousand matched, and cost a millisecond each.
        reach = reach.after(TELLING_ROWS * 0.001, TELLING_ROWS)

    assert reach.blocks * 30 * 0.001 <= TARGET_SECONDS or reach.blocks == 1


def test_shrinks_at_once_where_rows_turn_out_to_cost_more() -> None:
    reach = Reach.first(30).after(0.001, 10_000).after(0.001, 10_000)

    assert reach.after(2.0, 1_000).blocks == 1


def test_learns_nothing_from_a_few_rows() -> None:
    assert Reach.first(30).after(5.0, TELLING_ROWS - 1).row_seconds == ASSUMED_ROW_SECONDS


def test_has_an_end() -> None:
    reach = Reach.first(1)
    for _ in range(40):
        reach = reach.after(1e-9, TELLING_ROWS)

    assert reach.blocks == MAX_BLOCKS


def test_a_few_rows_of_a_large_table_are_not_worth_a_walk() -> None:
    assert not is_worth_a_walk(100, blocks=40_000, density=30)
    assert is_worth_a_walk(400_000, blocks=40_000, density=30)
    assert is_worth_a_walk(1_000, blocks=40, density=30)
