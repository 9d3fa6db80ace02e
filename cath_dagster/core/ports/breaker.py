"""Stop asking a provider that does not answer: after so many in a row the others are left for later.

Each question to one that hangs costs its whole timeout, so that a thousand of them would cost a day.
"""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Breaker:
    """Counts what went unanswered since the last answer; open, nothing is asked any more."""

    limit: int
    in_a_row: int = 0

    @property
    def is_open(self) -> bool:
        return self.in_a_row >= self.limit

    def record(self, *, is_outage: bool) -> None:
        """Take note of how a question ended; once open, a late answer closes nothing."""
        if not self.is_open:
            self.in_a_row = self.in_a_row + 1 if is_outage else 0
