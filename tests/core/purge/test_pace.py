"""The pace of a purge: what is asked, how it steps back from what the server shows, and what it says of it."""

import threading

import psycopg
import pytest
import sqlalchemy as sa

from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.pressure import MAX_LAG_BYTES, Pressure
from cath_dagster.core.purge.pace import (
    LARGE_TABLE_BYTES,
    LOOK_SECONDS,
    MAX_REST_SECONDS,
    MIN_DUTY,
    PACE_LIMITS,
    WAL_BURST_BYTES,
    Pacer,
    choose_pace,
)
from tests.support.entries import Entries, await_lock_wait, old_entries
from tests.support.waiting import PATIENCE_SECONDS

CALM = Pressure(waiting_for_us=0, waiting_for_locks=0, active=4, stalled=1, lag_bytes=None, wal_position=0)
WAITED_FOR = Pressure(waiting_for_us=1, waiting_for_locks=1, active=4, stalled=0, lag_bytes=None, wal_position=0)


class Server:
    """A server that shows what a test says, to a polite purge whose time passes only while it works and rests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, database: Database) -> None:
        self.now = 0.0
        self.shows = CALM
        self.pacer = Pacer(PACE_LIMITS[Pace.POLITE], sleep=self.pass_time, clock=lambda: self.now)
        self._database = database
        monkeypatch.setattr("cath_dagster.core.purge.pace.look", lambda connection: self.shows)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def batch(self, seconds: float = 0.002) -> float:
        """Return how long the purge rests after a batch."""
        self.now += seconds
        self._database.transaction(self.pacer.look)
        before = self.now
        self.pacer.rest(seconds)
        return self.now - before


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, entries: Entries) -> Server:
    return Server(monkeypatch, entries.database)


@pytest.mark.parametrize(
    ("asked", "is_scheduled", "heap_bytes", "chosen"),
    [
        (None, True, LARGE_TABLE_BYTES, Pace.POLITE),
        (None, True, LARGE_TABLE_BYTES - 1, Pace.BULK),
        (None, False, LARGE_TABLE_BYTES, Pace.BULK),
        (Pace.BULK, True, LARGE_TABLE_BYTES, Pace.BULK),
        (Pace.POLITE, False, 0, Pace.POLITE),
    ],
)
def test_is_polite_when_asked_and_on_a_schedule_where_the_table_is_large(
    asked: Pace | None, *, is_scheduled: bool, heap_bytes: int, chosen: Pace
) -> None:
    assert choose_pace(asked, is_scheduled=is_scheduled, heap_bytes=heap_bytes) is chosen


def test_a_polite_purge_on_a_calm_server_rests_as_long_as_it_works(server: Server) -> None:
    rests = [server.batch(0.002) for _ in range(100)]

    assert rests == pytest.approx([0.002] * 100)
    assert server.pacer.summary() == {"pace": "polite", "duty": 0.5, "rested_seconds": pytest.approx(0.2)}


def test_a_bulk_purge_never_rests_nor_looks(entries: Entries) -> None:
    pacer = Pacer(PACE_LIMITS[Pace.BULK], sleep=entries.rests.append)
    with entries.database:
        entries.database.transaction(pacer.look)
    pacer.rest(0.1)

    assert entries.rests == []
    assert pacer.summary() == {"pace": "bulk"}


@pytest.mark.parametrize(
    ("shows", "reason"),
    [
        (WAITED_FOR, "others wait for our locks"),
        (Pressure(0, 1, 4, 0, None, 0), "others wait for locks"),
        (Pressure(0, 0, 8, 4, None, 0), "others are stalled"),
        (Pressure(0, 0, 4, 0, MAX_LAG_BYTES + 1, 0), "a standby lags"),
        (Pressure(0, 0, 4, 0, None, 2 * WAL_BURST_BYTES), "much write-ahead log"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_steps_back_at_once_and_says_why(server: Server, shows: Pressure, reason: str) -> None:
    usual = server.batch()
    server.pass_time(1.0)
    server.shows = shows

    rest = server.batch()

    assert rest >= 0.1 > 20 * usual
    assert server.pacer.summary()["backed_off"] == [f"{reason}: 1"]


@pytest.mark.parametrize(
    "shows",
    [Pressure(0, 0, 2, 2, None, 0), Pressure(0, 0, 20, 4, MAX_LAG_BYTES, 0)],
    ids=["a session or two that wait", "few of many"],
)
def test_takes_a_healthy_server_as_it_is(server: Server, shows: Pressure) -> None:
    server.batch()
    server.pass_time(1.0)
    server.shows = shows

    server.batch()

    assert "backed_off" not in server.pacer.summary()


def test_rests_the_longer_the_longer_others_wait_and_never_for_ever(server: Server) -> None:
    server.shows = WAITED_FOR
    rests = []
    for _ in range(12):
        server.pass_time(LOOK_SECONDS)
        rests.append(round(server.batch(0.019), 6))

    assert rests == sorted(rests)
    assert rests[-1] == pytest.approx(0.019 * (1 - MIN_DUTY) / MIN_DUTY)
    assert server.batch(60.0) == pytest.approx(MAX_REST_SECONDS)


def test_comes_back_slowly(server: Server) -> None:
    server.shows = WAITED_FOR
    for _ in range(10):
        server.pass_time(LOOK_SECONDS)
        server.batch()
    server.shows = CALM
    started, rest = server.now, server.batch()

    assert rest == pytest.approx(0.002 * (1 - MIN_DUTY) / MIN_DUTY, rel=0.5)
    while server.batch() > 0.00205:
        pass
    assert 1 < server.now - started < 10


def test_a_slow_batch_of_its_own_is_a_sign_too(server: Server) -> None:
    assert server.batch(0.2) >= 0.2
    assert server.pacer.summary()["backed_off"] == ["own batch was slow: 1"]


def test_gets_on_where_every_batch_is_slow(server: Server) -> None:
    for _ in range(100):
        server.batch(0.03)

    assert server.batch(0.03) < 0.05


def test_a_real_server_shows_who_waits_for_our_locks(entries: Entries) -> None:
    """The look happens before the commit, since nobody waits for locks that are gone."""
    entries.fill(500)
    rests: list[float] = []
    pacer = Pacer(PACE_LIMITS[Pace.POLITE], sleep=rests.append)
    users: list[threading.Thread] = []

    def touch() -> None:
        with psycopg.connect(entries.url, autocommit=True) as user:
            user.execute("UPDATE entry SET note = 'touched' WHERE id = 1")

    def look(connection: sa.Connection) -> None:
        # The batch holds the lock of the first row when somebody comes for it.
        users.append(threading.Thread(target=touch))
        users[0].start()
        await_lock_wait(entries.url)
        Pacer.look(pacer, connection)
        pacer.look = lambda connection: None  # type: ignore[method-assign]

    pacer.look = look  # type: ignore[method-assign]
    progress = entries.purger(pacer=pacer).delete(old_entries(), limit=None)
    users[0].join(timeout=PATIENCE_SECONDS)

    assert progress.changed == 500
    assert "others wait for our locks: 1" in str(pacer.summary()["backed_off"])
    assert max(rests) >= 0.1
