"""Say what became of a run's messages, and whom those that failed are about."""

from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.ports.mail import Delivery
from cath_dagster.core.run.record import RunRecord

IDS_TOLD = 10
"""In one sentence; the outcome has more."""
SKIPPED_MESSAGES = {
    Delivery.REJECTED: "addresses were rejected for good by the mail provider",
    Delivery.GIVEN_UP: "messages of an earlier run that was interrupted may have arrived, and are not sent again",
}


def report_sent(record: RunRecord, outcome: Outcome, then: str) -> None:
    """Fail the run for messages that could not be sent, and note what else became of others; `then` says what follows."""
    if outcome.failed:
        record.fail(f"{outcome.failed} messages could not be sent ({_reasons(outcome)}); {then}")
        # Apart from the failure, which the ledger keeps for longer than anybody's id.
        record.note(f"not sent: messages of the ids {_failed_ids(outcome)}")
    if outcome.undelivered:
        record.note(f"{outcome.undelivered} messages were rendered and not delivered ({_reasons(outcome)})")
    for name, message in SKIPPED_MESSAGES.items():
        if ids := outcome.details.get(f"{name}_ids"):
            record.note(f"{message}, of the ids {', '.join(ids) if isinstance(ids, list) else ids}")


def _failed_ids(outcome: Outcome) -> str:
    """Return whom the messages that failed are about, the first of them where they are many."""
    ids = outcome.details.get(f"{Delivery.FAILED}_ids") or []
    shown = ids[:IDS_TOLD] if isinstance(ids, list) else [str(ids)]
    return ", ".join(shown) + (f" and {outcome.failed - len(shown)} more" if outcome.failed > len(shown) else "")


def _reasons(outcome: Outcome) -> str:
    errors = outcome.details.get("errors") or []
    return "; ".join(errors) if isinstance(errors, list) else str(errors)
