"""Ticks that are foretold are those that the scheduler makes."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cath_dagster.core.model.ticks import is_cron, longest_gap, next_tick, ticks
from cath_dagster.orchestration.internals.crons import schedule_execution_time_iterator

PACKAGE = Path(__file__).parents[3] / "cath_dagster"
THE_SCHEDULERS = {Path("orchestration/internals/crons.py"), Path("orchestration/ticks.py")}
"""Where its iterator is fetched, and where it is used."""
ZONES = ("Asia/Jerusalem", "Europe/London", "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
CHANGES = {
    "Asia/Jerusalem": (datetime(2027, 3, 25, 20, tzinfo=UTC), datetime(2027, 10, 30, 20, tzinfo=UTC)),
    "Europe/London": (datetime(2027, 3, 27, 20, tzinfo=UTC), datetime(2027, 10, 30, 20, tzinfo=UTC)),
    "America/New_York": (datetime(2027, 3, 14, 2, tzinfo=UTC), datetime(2027, 11, 7, 1, tzinfo=UTC)),
    "Australia/Lord_Howe": (datetime(2027, 4, 3, 10, tzinfo=UTC), datetime(2027, 10, 2, 10, tzinfo=UTC)),
}
"""Hours before a zone's clocks change."""


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        number.map(str),
        st.integers(1, high).map(lambda step: f"*/{step}"),
        st.tuples(number, number).map(lambda ends: "-".join(map(str, sorted(ends)))),
        st.lists(number, min_size=2, max_size=3, unique=True).map(lambda all_: ",".join(map(str, sorted(all_)))),
    )


crons = st.tuples(
    field(0, 59), field(0, 3), st.one_of(st.just("*"), field(1, 31)), st.just("*"), st.one_of(st.just("*"), field(0, 6))
).map(" ".join)
pieces = st.sampled_from(
    ["*", "0", "1", "7", "8", "31", "60", "L", "LW", "5L", "L5", "1#2", "1#6", "MON", "?", "*/5", "*/0", "a", "-1"]
)


def as_the_daemon_asks(cron: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Yield ticks as the scheduler comes to them: each asked for anew, from a second after the last."""
    start = after.timestamp() + 1
    while True:
        tick = next(schedule_execution_time_iterator(start, cron, zone))
        yield tick.astimezone(UTC)
        start = tick.timestamp() + 1


def loads(cron: str) -> bool:
    with warnings.catch_warnings():
        # Dagster warns of a step that is longer than its range, and takes it.
        warnings.simplefilter("ignore")
        try:
            dg.ScheduleDefinition(name="s", job_name="j", cron_schedule=cron)
        except dg.DagsterInvalidDefinitionError:
            return False
    return True


@given(
    cron=crons,
    zone_and_start=st.sampled_from(ZONES).flatmap(
        lambda zone: st.tuples(st.just(zone), st.sampled_from(CHANGES.get(zone, (datetime(2027, 3, 1, tzinfo=UTC),))))
    ),
    minutes=st.integers(0, 600),
)
@settings(max_examples=40, deadline=None)
def test_foretells_what_the_scheduler_does_around_a_clock_change(
    cron: str, zone_and_start: tuple[str, datetime], minutes: int
) -> None:
    zone, start = zone_and_start
    after = start + timedelta(minutes=minutes)

    foretold = list(islice(ticks(cron, zone, after), 8))

    assert foretold == list(islice(as_the_daemon_asks(cron, zone, after), 8))
    assert all(after < foretold[0] and earlier < later for earlier, later in pairwise(foretold))


@given(
    cron=st.one_of(
        crons, st.lists(pieces, min_size=4, max_size=6).map(" ".join), st.sampled_from(["", "daily", "@daily"])
    )
)
@settings(max_examples=300, deadline=None)
def test_takes_the_crons_that_the_scheduler_takes(cron: str) -> None:
    assert is_cron(cron) == loads(cron)


@pytest.mark.parametrize("minute", ["0", "09", "59", "*", "*/1", "*/15", "*/59"])
@pytest.mark.parametrize("hour", ["0", "09", "19", "23", "*", "*/1", "*/6", "*/19", "*/23"])
@pytest.mark.parametrize("weekday", ["*", "0", "6"])
def test_takes_no_plain_cron_unseen_that_the_scheduler_refuses(minute: str, hour: str, weekday: str) -> None:
    cron = f"{minute} {hour} * * {weekday}"

    assert is_cron(cron)
    assert loads(cron)


def test_a_time_that_comes_twice_is_the_second_one() -> None:
    evening = datetime(2027, 10, 30, 20, 0, tzinfo=UTC)

    assert next_tick("30 1 * * *", "Asia/Jerusalem", evening) == datetime(2027, 10, 30, 23, 30, tzinfo=UTC)


def test_asked_with_a_local_time_the_instant_counts_and_not_the_clock() -> None:
    first_half_past_one = datetime(2027, 10, 31, 1, 30, tzinfo=ZoneInfo("Asia/Jerusalem"))

    assert next_tick("30 1 * * *", "Asia/Jerusalem", first_half_past_one) == datetime(2027, 10, 30, 23, 30, tzinfo=UTC)


def test_a_day_of_the_month_beside_a_weekday_is_read_as_the_scheduler_does() -> None:
    days = [tick.day for tick in islice(ticks("0 1 */2 * 1", "UTC", datetime(2026, 11, 1, tzinfo=UTC)), 4)]

    assert days == [
        at.day for at in islice(as_the_daemon_asks("0 1 */2 * 1", "UTC", datetime(2026, 11, 1, tzinfo=UTC)), 4)
    ]


def test_a_date_that_never_comes_is_foretold_never() -> None:
    assert next_tick("0 0 31 4 *", "UTC", datetime(2026, 11, 1, tzinfo=UTC)) is None
    assert longest_gap("0 0 31 4 *", "UTC", datetime(2026, 11, 1, tzinfo=UTC), among=10) == timedelta()


def test_the_longest_gap_of_a_day_is_that_of_the_zone() -> None:
    autumn = datetime(2027, 10, 28, tzinfo=UTC)

    assert longest_gap("0 6 * * *", "Asia/Jerusalem", autumn, among=10) == timedelta(hours=25)


@given(
    cron=st.one_of(
        st.sampled_from(
            [
                "*/15 * * * *",
                "*/7 * * * *",
                "*/60 * * * *",
                "5 * * * *",
                "10 */6 * * *",
                "0 */5 * * *",
                "30 1 * * *",
                "0 2 * * 1",
                "0 6 * * 7",
            ]
        ),
        crons,
    ),
    zone=st.sampled_from(ZONES),
    minutes=st.integers(0, 60 * 24 * 400),
)
@settings(max_examples=60, deadline=None)
def test_the_longest_gap_is_that_of_the_scheduler_whether_it_is_asked_or_not(
    cron: str, zone: str, minutes: int
) -> None:
    after = datetime(2027, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    coming = list(islice(ticks(cron, zone, after), 10))

    gaps = [later - earlier for earlier, later in pairwise(coming)]
    assert longest_gap(cron, zone, after, among=10) == max(gaps, default=timedelta())


def test_no_other_library_foretells_ticks() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {word}"
        for path in PACKAGE.rglob("*.py")
        for word in ("cronsim", "croniter", "schedule_execution_time_iterator", "cron_string_iterator")
        if word in path.read_text() and path.relative_to(PACKAGE) not in THE_SCHEDULERS
    ]

    assert found == []


def test_a_run_does_not_wait_for_the_scheduler_to_load() -> None:
    """Neither to read the specifications nor, at its end, to say how often its schedule ticks."""
    program = """
import sys
from datetime import datetime, UTC
from cath_dagster.core.model.ticks import longest_gap
from cath_dagster.registry import all_specs
summer = datetime(2026, 7, 1, tzinfo=UTC)
assert all(longest_gap(spec.cron, spec.location.timezone, summer, among=10) for spec in all_specs() if spec.cron)
sys.exit("dagster" in sys.modules)
"""

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
