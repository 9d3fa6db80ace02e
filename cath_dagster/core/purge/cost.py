"""Tell what a batch costs by itself from what its rows cost."""

from dataclasses import dataclass

MAX_OVERHEAD = 0.005
"""Seconds. Of the first batch, what it takes beyond is put down to its rows."""
DECAY = 0.9
"""A batch counts for half as much after seven more: rows of a table differ from place to place."""
MIN_SPREAD = 0.01
"""Of the mean square of rows: batches of nearly one size cannot tell the two apart."""
SURPRISE = 4
"""A batch that takes longer than so many times what was expected counts as that."""
LEAST = 1e-9
"""Seconds a row; PostgreSQL takes a hundred times as long."""


@dataclass
class Cost:
    """Seconds of a batch as `overhead + per_row * rows`, by least squares over the last batches.

    On a busy machine every batch waits its turn: that is no reason to make them smaller, which a plain share of
    seconds by rows would take it for.
    """

    overhead: float = MAX_OVERHEAD
    per_row: float | None = None
    """None until rows were changed."""
    _is_first_alone: bool = False
    _weight: float = 0.0
    _x: float = 0.0
    _y: float = 0.0
    _xx: float = 0.0
    _xy: float = 0.0

    def add(self, rows: int, seconds: float) -> None:
        """Learn from a batch that changed so many rows, at least one."""
        if self.per_row is not None:
            # One that met a checkpoint or a lock would outweigh all the others; rows that have grown dearer are
            # believed from batch to batch.
            seconds = min(seconds, SURPRISE * (self.overhead + self.per_row * rows))
        if self._is_first_alone:
            # In the first batch the server planned and read its catalogues; of those to come it tells nothing.
            self._weight = self._x = self._y = self._xx = self._xy = 0.0
        self._is_first_alone = self.per_row is None
        for name, value in (
            ("_weight", 1.0),
            ("_x", rows),
            ("_y", seconds),
            ("_xx", rows * rows),
            ("_xy", rows * seconds),
        ):
            setattr(self, name, DECAY * getattr(self, name) + value)
        spread = self._xx - self._x**2 / self._weight
        if spread < MIN_SPREAD * self._xx:
            self.overhead = min(self.overhead, seconds)
            self.per_row = max(LEAST, (seconds - self.overhead) / rows)
            return
        self.per_row = max(LEAST, (self._xy - self._x * self._y / self._weight) / spread)
        self.overhead = max(0.0, (self._y - self.per_row * self._x) / self._weight)
        if self.overhead == 0.0:
            self.per_row = self._y / self._x
