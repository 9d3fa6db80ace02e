"""No message is longer than its channel takes, and one that nobody was told of is not forgotten."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.postgres.database import Database
from cath_dagster.operations.alerts import Alert, AlertSettings, Kind, write_letter
from cath_dagster.operations.bounds import LONGEST_BODY, LONGEST_TITLE, cut, fit, measure
from cath_dagster.operations.channels import open_channels
from cath_dagster.operations.delivery import deliver
from cath_dagster.operations.health import find_untold_alerts
from cath_dagster.operations.store import KEPT_TRYING, AlertStore
from tests.operations.instance import NOW
from tests.operations.receivers import Receiver, Request

TEAMS = 28 * 1024
SURVEYS = ", ".join(str(1_000_000 + number) for number in range(4_000))
LONG = f"hard_delete: 4000 surveys could not be hard-deleted ({SURVEYS}: permission denied); the next run tries again"
DAY = timedelta(days=1)
SMS = f"twilio://AC{'a' * 32}:{'b' * 32}@+15551234567/+15557654321"
ADDRESSES = [
    "json://127.0.0.1/hook",
    f"slack://T00000000/B00000000/{'X' * 24}",
    "workflows://127.0.0.1:443/workflow1/signature1/",
    "mailto://127.0.0.1?from=a@example.org&to=b@example.org",
    "tgram://123456789:abcdefg_hijklmnop/123",
    SMS,
]


def failed(*says: str, title: str = "checktick/data_governance failed") -> Alert:
    return Alert(
        kind=Kind.RUN_FAILED,
        subject="checktick/data_governance",
        occurrence="1",
        title=title,
        says=says,
        at=NOW,
        path="/runs/1",
    )


class Limited(Receiver):
    """A channel that takes no more than so many bytes."""

    limit = TEAMS

    def __init__(self) -> None:
        super().__init__(on_request=self._judge)
        self.taken: list[Any] = []

    def _judge(self, request: Request) -> None:
        self.status = 200 if len(request.body) <= self.limit else 413
        if self.status == 200:
            self.taken.append(request.json)


@pytest.fixture
def channel() -> Iterator[Limited]:
    with Limited() as opened:
        yield opened


def tell(database: Database, channel: Limited, *, after: timedelta = timedelta()) -> None:
    urls = [f"json://127.0.0.1:{channel.port}/hook?rto=5"]
    settings = AlertSettings(alert_urls=urls[0], ui_url="https://dagster.example.org")
    deliver(database, settings, open_channels(urls, variable="URLS"), now=NOW + after)


def findings(database: Database, *, after: timedelta) -> list[Finding]:
    return list(find_untold_alerts(database, AlertSettings(alert_urls="json://127.0.0.1/x"), NOW + after))


def problems(database: Database, *, after: timedelta) -> list[str]:
    return [each.message for each in findings(database, after=after) if each.level is Level.PROBLEM]


def test_a_failure_of_thousands_of_surveys_is_told_with_the_way_to_the_rest(
    database: Database, channel: Limited
) -> None:
    AlertStore(database).record([failed(LONG)])

    tell(database, channel)

    (taken,) = channel.taken
    assert "1000000, 1000001" in taken["message"]
    assert "cut" in taken["message"]
    assert "https://dagster.example.org/runs/1" in taken["message"]


def test_what_is_recorded_is_whole(database: Database) -> None:
    AlertStore(database).record([failed(LONG)])
    AlertStore(database).seal(now=NOW, interval=DAY)

    (sealed,) = AlertStore(database).due(now=NOW)

    assert sealed.says == [LONG]


def test_one_long_line_does_not_hide_the_others(database: Database, channel: Limited) -> None:
    AlertStore(database).record([failed(LONG, "Left undone: 7 of 9 due in audit_log.")])

    tell(database, channel)

    assert "Left undone: 7 of 9" in channel.taken[0]["message"]


def test_a_channel_that_refuses_even_so_is_told_where_to_look(database: Database, channel: Limited) -> None:
    channel.limit = 1_200
    AlertStore(database).record([failed(LONG)])

    tell(database, channel)

    assert "https://dagster.example.org/runs/1" in channel.taken[0]["message"]


@given(
    st.lists(st.text(), max_size=5),
    st.lists(st.text(min_size=1), max_size=3),
    st.integers(0, 300),
)
def test_any_text_fits_into_any_room(says: list[str], closing: list[str], room: int) -> None:
    body = fit(says, closing, room)

    assert measure(body) <= room
    assert measure(cut("".join(says), room)) <= room


@given(st.text(), st.integers(0, 100))
def test_what_fits_is_left_alone(text: str, more: int) -> None:
    assert cut(text, measure(text) + more) == text


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: str(address).partition(":")[0])
def test_every_channel_is_handed_what_it_takes(address: str) -> None:
    (channel,) = open_channels([address], variable="URLS")
    (plugin,) = channel._notifier
    letter = write_letter(
        AlertSettings(ui_url="https://dagster.example.org", env_name="production"),
        kind="run_failed", title="t" * 1_000, says=[LONG] * 50, path="/runs/1", is_over=False, others=3,
        room=channel.room, title_room=channel.title_room,
    )  # fmt: skip

    assert len(letter.title) <= (plugin.title_maxlen or LONGEST_TITLE)
    assert measure(letter.body) <= min(LONGEST_BODY, plugin.body_maxlen)
    assert plugin.title_maxlen or len(letter.title) + len(letter.body) + 2 <= plugin.body_maxlen


def test_a_message_that_is_given_up_is_a_problem_until_somebody_says_that_it_was_read(
    database: Database, channel: Limited
) -> None:
    channel.limit = 0
    AlertStore(database).record([failed("it went wrong")])
    tell(database, channel)

    assert problems(database, after=KEPT_TRYING + DAY) == [
        "1 messages did not reach every channel in 7 days and are tried no more, the newest of 2026-11-18 12:00 UTC"
    ]
    assert AlertStore(database).acknowledge(now=NOW + 9 * DAY) == 1
    assert problems(database, after=10 * DAY) == []


def test_history_that_no_channel_was_there_for_is_not_given_up(database: Database) -> None:
    AlertStore(database).record([failed("it went wrong")])

    assert problems(database, after=KEPT_TRYING + DAY) == []
