"""Work in several threads."""

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from cath_dagster.core.parallel import work_on
from tests.support.waiting import PATIENCE_SECONDS


@contextlib.contextmanager
def nothing() -> Iterator[None]:
    yield


def test_returns_a_result_for_every_item() -> None:
    results = work_on(range(100), lambda _, n: n * n, own=nothing, threads=8, stop=threading.Event())

    assert sorted(results) == [n * n for n in range(100)]


def test_has_nothing_to_do_without_items() -> None:
    assert list(work_on([], lambda _, n: n, own=nothing, threads=8, stop=threading.Event())) == []


def test_a_thread_has_what_is_current_where_the_work_is_given_out() -> None:
    said: ContextVar[str] = ContextVar("said", default="nothing")
    said.set("something")

    results = work_on(range(8), lambda _, n: said.get(), own=nothing, threads=4, stop=threading.Event())

    assert set(results) == {"something"}


def test_works_on_as_many_items_at_once_as_there_are_threads_and_no_more() -> None:
    meet = threading.Barrier(4, timeout=PATIENCE_SECONDS)

    def work(_: None, number: int) -> int:
        # Passes only if four are at work together; a fifth would break a later round.
        return meet.wait() and number

    results = list(work_on(range(12), work, own=nothing, threads=4, stop=threading.Event()))

    assert len(results) == 12


def test_each_thread_opens_its_own_and_closes_it() -> None:
    meet = threading.Barrier(3, timeout=PATIENCE_SECONDS)
    opened: list[int] = []
    closed: list[int] = []

    @contextlib.contextmanager
    def own() -> Iterator[int]:
        opened.append(threading.get_ident())
        yield threading.get_ident()
        closed.append(threading.get_ident())

    def work(mine: int, number: int) -> int:
        meet.wait()
        assert mine == threading.get_ident()
        return number

    list(work_on(range(3), work, own=own, threads=3, stop=threading.Event()))

    assert len(opened) == len(set(opened)) == 3
    assert sorted(opened) == sorted(closed)


def test_once_stopped_no_other_item_is_begun() -> None:
    stop = threading.Event()
    begun: list[int] = []

    def work(_: None, number: int) -> int:
        begun.append(number)
        stop.set()
        return number

    results = list(work_on(range(50), work, own=nothing, threads=1, stop=stop))

    assert results == begun == [0]


def test_an_interrupt_waits_for_what_is_under_way() -> None:
    finished: list[int] = []
    may_end = threading.Event()

    def work(_: None, number: int) -> int:
        if number == 1:
            may_end.wait(10)
        finished.append(number)
        return number

    results = work_on([0, 1], work, own=nothing, threads=2, stop=threading.Event())
    assert next(results) == 0
    threading.Timer(0.05, may_end.set).start()
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)

    assert finished == [0, 1]


def test_raises_what_a_thread_raises() -> None:
    def work(_: None, number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        list(work_on([1, 0, 1], work, own=nothing, threads=1, stop=threading.Event()))
