"""Add up what became of a run's messages, for its outcome."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.ports.mail import Delivery, Receipt

IDS_SHOWN = 50
NAMED = (Delivery.REJECTED, Delivery.GIVEN_UP, Delivery.FAILED)
"""What an operator may have to act upon is named by its subjects' ids."""


@dataclass
class Tally:
    """How many messages ended how, why, and about whom."""

    matched: int = 0
    counts: Counter[Delivery] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    ids: dict[Delivery, list[str]] = field(default_factory=dict)

    def add(self, subject_ids: Sequence[str], receipt: Receipt) -> None:
        # A message of unknown fate is one that failed, as far as this run is concerned.
        delivery = Delivery.FAILED if receipt.delivery is Delivery.UNKNOWN else receipt.delivery
        self.counts[delivery] += 1
        if receipt.error:
            self.errors[receipt.error] += 1
        if delivery in NAMED:
            self.ids.setdefault(delivery, []).extend(subject_ids)

    def outcome(self) -> Outcome:
        named: dict[str, Scalar] = {
            f"{delivery}_ids": sorted(self.ids[delivery])[:IDS_SHOWN] for delivery in NAMED if delivery in self.ids
        }
        return Outcome(
            target="mail",
            matched=self.matched,
            notified=self.counts[Delivery.SENT],
            undelivered=self.counts[Delivery.UNDELIVERED],
            failed=self.counts[Delivery.FAILED],
            skipped=self.counts[Delivery.REJECTED] + self.counts[Delivery.GIVEN_UP],
            details={**({"errors": summarise(self.errors)} if self.errors else {}), **named},
        )


def summarise(errors: Counter[str]) -> list[str]:
    """Return the reasons, the most frequent first, with their numbers where there are several."""
    if len(errors) == 1:
        return list(errors)
    return [f"{count} x {error}" for error, count in errors.most_common()]
