"""Bring every value of a table under the new master key, in short transactions, pass after pass until none is left.

A value is written where its row still holds what was read, so that nothing of the service's own is overwritten; a row that
changed, or that somebody holds, is read again by the next pass. A kill leaves each row as it was or under the new key.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa

from cath_dagster.cloudmake.master_key.counting import SHOWN, THREADS, read_all, work_ahead
from cath_dagster.cloudmake.master_key.values import EncryptedTable, Under, Value
from cath_dagster.cloudmake.sealing import Keyring
from cath_dagster.core.postgres.database import Database, Limits, TimedOutError

LIMITS = Limits(lock_seconds=0.05, statement_seconds=0.1)
"""A batch takes some milliseconds; one that would hold rows for longer is rolled back and tried in halves."""
IDLE_PASSES = 10
"""Passes in a row that bring nothing further, a second apart: a row that is held for so long is left to the next run."""
PAUSE_SECONDS = 1.0
MOST_PASSES = 50
"""Something that goes on writing under the old key would keep the work from its end."""

Change = tuple[Value, tuple[Any, ...]]
OnWritten = Callable[[sa.Connection, int], None]
"""Told in each transaction how many values it has written."""


@dataclass
class Progress:
    """How far the work on one table has come."""

    written: int = 0
    batches: int = 0
    passes: int = 0
    longest_seconds: float = 0.0
    unopened: list[str] = field(default_factory=list)
    unopened_count: int = 0
    left: int = 0
    """How many the last pass found under the old key and could not write."""
    is_capped: bool = False
    """Whether it ended because the run may write no more."""


@dataclass(kw_only=True)
class ReEncryption:
    """The work on one table."""

    database: Database
    keyring: Keyring
    table: EncryptedTable
    batch: int
    on_written: OnWritten
    say: Callable[[int], None]
    """Told how many values are written so far."""
    room: int | None = None
    """How many values may be written at most."""
    sleep: Callable[[float], None] = time.sleep
    progress: Progress = field(default_factory=Progress)
    _began: float = field(default_factory=time.perf_counter)
    """When the newest transaction began."""
    _ours: set[bytes] = field(default_factory=set)
    """What this run has written, by a hash of each: known to be under the new key without opening it again."""

    def run(self) -> Progress:
        """Go on until a whole pass finds no value under the old key, no more may be written, or it comes no further."""
        idle = 0
        with ThreadPoolExecutor(THREADS) as pool:
            while idle < IDLE_PASSES and self.progress.passes < MOST_PASSES:
                before = self.progress.written
                self.progress.left = 0
                if not self._pass(pool) or self.progress.is_capped:
                    break
                if self.progress.written == before:
                    idle += 1
                    self.sleep(PAUSE_SECONDS)
        return self.progress

    def _pass(self, pool: ThreadPoolExecutor) -> int:
        """Read the whole table once; return how many values were found under the old key."""
        self.progress.passes += 1
        self.progress.unopened_count, self.progress.unopened = 0, []
        found = 0
        for changes, unopened in work_ahead(read_all(self.database, self.table, self.batch), self._renew, pool):
            self._note(unopened)
            found += len(changes)
            self.progress.left += len(changes) - self._write(self._within_room(changes))
            self.say(self.progress.written)
            if self.progress.is_capped:
                break
        return found

    def _renew(self, values: list[Value]) -> tuple[list[Change], list[str]]:
        """Return what those that are under the old key become, and which open under neither. Run by the pool."""
        changes, unopened = [], []
        for value in values:
            if _hash(value.stored) in self._ours:
                continue
            found = self.table.find(self.keyring, value)
            if found.under is Under.OLD:
                changes.append((value, self.table.form.close(self.keyring.new, self.table.name, value, found.content)))
            elif found.under is Under.NEITHER:
                unopened.append(f"{'/'.join(map(str, value.key))} ({found.why})")
        return changes, unopened

    def _within_room(self, changes: list[Change]) -> list[Change]:
        if self.room is None or len(changes) <= (room := self.room - self.progress.written):
            return changes
        self.progress.is_capped = True
        return changes[:room]

    def _write(self, changes: Sequence[Change]) -> int:
        """Write a batch in one transaction, in halves where it takes too long; return how many were written."""
        if not changes:
            return 0
        self._began = time.perf_counter()
        try:
            written = self.database.transaction(partial(self._write_in, changes), limits=LIMITS)
        except TimedOutError:
            half = len(changes) // 2
            return sum(self._write(part) for part in (changes[:half], changes[half:])) if half else 0
        finally:
            seconds = time.perf_counter() - self._began
            self.progress.longest_seconds = max(self.progress.longest_seconds, seconds)
        self.progress.written += written
        self.progress.batches += 1
        self._ours.update(_hash(stored) for _, stored in changes)
        return written

    def _write_in(self, changes: Sequence[Change], connection: sa.Connection) -> int:
        self._began = time.perf_counter()
        written = self.table.write(connection, changes)
        if written:
            self.on_written(connection, written)
        return written

    def _note(self, unopened: Sequence[str]) -> None:
        self.progress.unopened_count += len(unopened)
        self.progress.unopened = [*self.progress.unopened, *unopened][:SHOWN]


def _hash(stored: Sequence[Any]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in stored:
        digest.update(part.encode() if isinstance(part, str) else bytes(part))
    return digest.digest()
