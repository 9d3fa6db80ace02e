"""When a job runs, in words; the ticks of an interval; the waits between repetitions."""

from datetime import UTC, datetime, timedelta

import pytest

from cath_dagster.core.model.schedule import LONGEST_DELAY, Cron, EvenTicks, Every, Retry

START = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Cron("0 1 * * *"), "0 1 * * *"),
        (Every(timedelta(seconds=5)), "every 5 seconds"),
        (Every(timedelta(minutes=1)), "every minute"),
        (Every(timedelta(seconds=90)), "every 90 seconds"),
        (Every(timedelta(hours=2)), "every 2 hours"),
        (Every(timedelta(days=1)), "every day"),
    ],
)
def test_says_when_in_words(schedule: Cron | Every, text: str) -> None:
    assert str(schedule) == text


def test_an_interval_s_ticks_are_made_when_they_are_asked_for() -> None:
    ticks = EvenTicks(timedelta(seconds=5), START, START + timedelta(days=400))

    assert (len(ticks), ticks[0], ticks[-1]) == (
        400 * 17_280,
        START + timedelta(seconds=5),
        START + timedelta(days=400),
    )
    assert list(ticks[:2]) == [START + timedelta(seconds=5), START + timedelta(seconds=10)]
    assert len(EvenTicks(timedelta(seconds=5), START, START - timedelta(days=1))) == 0


def test_a_delay_grows_and_varies_within_its_bounds() -> None:
    retry = Retry(attempts=3, delay=timedelta(seconds=10), backoff=2, jitter=0.5)

    assert [retry.delay_before(n, chance).total_seconds() for n, chance in ((1, 0.5), (2, 0.5), (3, 0.0), (3, 1.0))] == [
        10, 20, 20, 60,
    ]  # fmt: skip
    assert Retry(attempts=9, delay=timedelta(minutes=30)).delay_before(9, 1.0) == LONGEST_DELAY
