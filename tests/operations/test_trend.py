"""When a purge counts as falling behind, and when it will have caught up."""

from datetime import datetime, timedelta

import pytest

from cath_dagster.operations.trend import Point, find_trend
from tests.operations.instance import NOW

DAY = timedelta(days=1)


def points(*left_and_age: tuple[int, float | None]) -> list[Point]:
    """Return the points of daily runs, the last of them at `NOW`."""
    first = NOW - (len(left_and_age) - 1) * DAY
    return [
        Point(run_id=str(number), at=first + number * DAY, left=left, oldest_age_days=age)
        for number, (left, age) in enumerate(left_and_age)
    ]


def outlook(*left_and_age: tuple[int, float | None]) -> datetime | None:
    trend = find_trend(points(*left_and_age), runs=3)
    assert trend is not None
    return trend.caught_up_at


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([], id="it never ran"),
        pytest.param([(50, 91.0), (50, 92.0)], id="too few runs"),
        pytest.param(
            [(0, 91.0), (0, 92.0), (0, 93.0)], id="it leaves nothing: the oldest row is one that its rule keeps"
        ),
        pytest.param([(50, 91.0), (0, 92.0), (50, 93.0)], id="one of the runs left nothing"),
        pytest.param([(50, 91.0), (60, 91.0), (70, 91.0)], id="the oldest row grows no older"),
        pytest.param([(50, 93.0), (40, 92.0), (30, 91.0)], id="it catches up"),
        pytest.param([(50, 91.0), (50, None), (50, 93.0)], id="nobody looked how old the oldest is"),
    ],
)
def test_is_not_behind(history: list[tuple[int, float | None]]) -> None:
    assert find_trend(points(*history), runs=3) is None


def test_is_behind_where_due_rows_are_left_and_the_oldest_grows_older() -> None:
    trend = find_trend(points((10, 91.0), (20, 92.0), (30, 93.0)), runs=3)

    assert trend is not None
    assert [point.left for point in trend.points] == [10, 20, 30]


def test_only_the_last_runs_count() -> None:
    assert find_trend(points((0, 90.0), (10, 91.0), (20, 92.0), (30, 93.0)), runs=3) is not None


def test_never_catches_up_where_no_fewer_rows_are_left() -> None:
    assert outlook((10, 91.0), (20, 92.0), (30, 93.0)) is None
    assert outlook((10, 91.0), (20, 92.0), (10, 93.0)) is None


def test_will_have_caught_up_when_the_rest_is_gone_at_the_same_rate() -> None:
    # 50 rows a day fewer, and 200 are left.
    assert outlook((300, 91.0), (250, 92.0), (200, 93.0)) == NOW + 4 * DAY


def test_what_takes_ten_years_and_more_never_catches_up() -> None:
    assert outlook((10**9 + 1, 91.0), (10**9, 92.0), (10**9, 93.0)) is None
