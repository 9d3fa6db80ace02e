"""Work on many items in several threads, each with something of its own, such as a connection."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import TypeVar

Item = TypeVar("Item")
Own = TypeVar("Own")
Result = TypeVar("Result")


def work_on(
    items: Iterable[Item],
    work: Callable[[Own, Item], Result],
    *,
    own: Callable[[], AbstractContextManager[Own]],
    threads: int,
    stop: threading.Event,
) -> Generator[Result, None, None]:
    """Yield what `work` returns for each item, as they end; each thread opens its own `own`.

    Once `stop` is set no other item is begun, and those under way are finished: also on an interrupt, because an effect
    on the outside must be written down. What a thread raises is raised here, after the others have ended.
    """
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    threads = min(threads, waiting.qsize())
    finished: queue.SimpleQueue[tuple[Result] | None] = queue.SimpleQueue()
    if not threads:
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            # Each with what is current here, such as where telemetry goes: a thread begins without.
            turns = (copy_context().run for _ in range(threads))
            futures = [pool.submit(run, _take_turns, waiting, finished, work, own, stop) for run in turns]
            while threads:
                result = finished.get()
                if result is None:
                    threads -= 1
                else:
                    yield result[0]
        finally:
            stop.set()
    for future in futures:
        future.result()


def _take_turns(
    waiting: "queue.SimpleQueue[Item]",
    finished: "queue.SimpleQueue[tuple[Result] | None]",
    work: Callable[[Own, Item], Result],
    own: Callable[[], AbstractContextManager[Own]],
    stop: threading.Event,
) -> None:
    """Take items until there are none left; tell that this thread has ended by None."""
    try:
        with own() as mine:
            while not stop.is_set():
                try:
                    item = waiting.get_nowait()
                except queue.Empty:
                    return
                finished.put((work(mine, item),))
    finally:
        finished.put(None)
