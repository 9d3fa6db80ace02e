"""What a batch costs by itself and what its rows cost, told apart from nothing but their times."""

import random
from itertools import cycle

import pytest

from cath_dagster.core.purge.cost import Cost


@pytest.mark.parametrize("overhead", [0.0, 0.0004, 0.02], ids=["none", "usual", "busy machine"])
@pytest.mark.parametrize("per_row", [5e-7, 1e-4, 0.05], ids=["bare", "foreign key", "no index"])
def test_tells_overhead_and_rows_apart(overhead: float, per_row: float) -> None:
    cost = Cost()
    for rows in (16, 64, 256, 100, 200):
        cost.add(rows, overhead + per_row * rows)

    assert cost.per_row == pytest.approx(per_row, rel=0.01)
    assert cost.overhead == pytest.approx(overhead, abs=1e-4)


def test_puts_a_long_first_batch_down_to_its_rows() -> None:
    cost = Cost()
    cost.add(16, 0.8)

    assert cost.per_row == pytest.approx(0.05, rel=0.01)


def test_forgets_what_the_first_batch_took_to_plan() -> None:
    cost = Cost()
    for number, rows in enumerate([16, 18, 66, 292, 1_112]):
        cost.add(rows, 0.0004 + 4e-7 * rows + (0 if number else 0.006))

    assert cost.overhead == pytest.approx(0.0004, rel=0.1)
    assert cost.per_row == pytest.approx(4e-7, rel=0.1)


def test_is_not_led_by_one_batch_that_met_something() -> None:
    cost, noise = Cost(), random.Random(1)
    for number, rows in zip(range(200), cycle([800, 1_000, 1_200]), strict=False):
        cost.add(rows, 0.001 + 2e-6 * rows * noise.uniform(0.8, 1.2) + (0.5 if number == 150 else 0))

    assert cost.per_row == pytest.approx(2e-6, rel=0.5)


def test_follows_rows_that_grow_dearer() -> None:
    cost = Cost()
    for _ in range(50):
        for rows in (500, 1_000):
            cost.add(rows, 0.001 + 1e-6 * rows)
    for _ in range(30):
        for rows in (500, 1_000):
            cost.add(rows, 0.001 + 1e-5 * rows)

    assert cost.per_row == pytest.approx(1e-5, rel=0.1)


def test_batches_of_one_size_say_no_more_than_their_share() -> None:
    cost = Cost()
    for _ in range(20):
        cost.add(1_000, 0.012)

    assert 0 < cost.overhead <= 0.005
    assert cost.per_row == pytest.approx((0.012 - cost.overhead) / 1_000)
