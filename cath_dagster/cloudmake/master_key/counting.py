"""Count the encrypted values by the key that each is under: only decryption tells, since no column does."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from cath_dagster.cloudmake.master_key.values import ENCRYPTED, EncryptedTable, Found, Under, Value
from cath_dagster.cloudmake.sealing import Keyring
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.postgres.database import Database

Batch = TypeVar("Batch")
Done = TypeVar("Done")

PAGE = 100
SHOWN = 5
"""Values under neither key that are named, for an operator to look up."""
THREADS = min(4, os.cpu_count() or 1)
"""To make a key of a password is nearly all of the work, and other threads run meanwhile. A pod has few processors."""


@dataclass(frozen=True)
class KeyCounts:
    """How many values of a table are under which key."""

    new: int = 0
    old: int = 0
    neither: int = 0
    unopened: tuple[str, ...] = ()
    """Some of those under neither: the row's key, and why it does not open."""

    @property
    def total(self) -> int:
        return self.new + self.old + self.neither

    def as_details(self, when: str = "") -> dict[str, Scalar]:
        return {f"under_new{when}": self.new, f"under_old{when}": self.old, f"under_neither{when}": self.neither}


def count_by_key(database: Database, keyring: Keyring) -> dict[str, KeyCounts]:
    """Open every value, and return by table how many are under which key."""
    with ThreadPoolExecutor(THREADS) as pool:
        return {table.name: _count(database, keyring, table, pool) for table in ENCRYPTED}


def read_all(database: Database, table: EncryptedTable, page: int) -> Iterator[list[Value]]:
    """Yield a table's values, page by page, each read in a transaction of its own."""
    after: Value | None = None
    while values := database.transaction(partial(table.read, after=after, limit=page)):
        yield values
        after = values[-1]


def work_ahead(batches: Iterable[Batch], work: Callable[[Batch], Done], pool: ThreadPoolExecutor) -> Iterator[Done]:
    """Yield what comes of each batch, in order, while the pool works on the next ones."""
    under_way: deque[Future[Done]] = deque()
    try:
        for batch in batches:
            under_way.append(pool.submit(work, batch))
            if len(under_way) > THREADS:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


def total(counts: Mapping[str, KeyCounts]) -> KeyCounts:
    """Return the counts of all tables as one."""
    every = counts.values()
    return KeyCounts(sum(c.new for c in every), sum(c.old for c in every), sum(c.neither for c in every))


def _count(database: Database, keyring: Keyring, table: EncryptedTable, pool: ThreadPoolExecutor) -> KeyCounts:
    def look(values: list[Value]) -> list[tuple[Value, Found]]:
        looked_at, likely = [], Under.NEW
        for value in values:
            looked_at.append((value, found := table.find(keyring, value, likely)))
            likely = found.under
        return looked_at

    count: Counter[Under] = Counter()
    unopened: list[str] = []
    for looked_at in work_ahead(read_all(database, table, PAGE), look, pool):
        count.update(each.under for _, each in looked_at)
        unopened += [f"{'/'.join(map(str, v.key))} ({f.why})" for v, f in looked_at if f.under is Under.NEITHER]
        del unopened[SHOWN:]
    return KeyCounts(count[Under.NEW], count[Under.OLD], count[Under.NEITHER], tuple(unopened))
