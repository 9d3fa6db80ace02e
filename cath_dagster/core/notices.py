"""Send each notice once: claimed in the database before it is sent, confirmed after.

A run killed between the two leaves a claim whose outcome nobody knows; the next run asks the provider by our
reference before it sends anything again.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.database import Database
from cath_dagster.core.mail import Delivery, Mailer, MailerUnavailableError, Message, Receipt
from cath_dagster.core.maintenance import sent_notice
from cath_dagster.core.outcome import Outcome

CLAIMED = "claimed"
SETTLED = (Delivery.SENT.value, Delivery.REJECTED.value)
"""A notice in one of these is done with: the provider took it, or will never take it."""
IDS_SHOWN = 50
MAX_OUTAGES = 3
"""Messages in a row for which the provider was asked in vain; the others are left to the next run."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One message about one matter: `subject_ids` are all the rows it stands for, `period_start` the period.

    A person's address that is rejected for good settles the matter. An operator's is a mistake in the settings:
    without `settled_by_rejection` the notice has failed, and is sent once the address is mended.
    """

    subject_ids: tuple[str, ...]
    kind: str
    period_start: date
    message: Message
    settled_by_rejection: bool = True


def not_settled(connection: sa.Connection, job: str, notices: Sequence[Notice]) -> list[Notice]:
    """Return the notices that no earlier run has settled."""
    query = sa.select(sent_notice.c.subject_id, sent_notice.c.kind, sent_notice.c.period_start).where(
        sent_notice.c.job == job,
        sent_notice.c.status.in_(SETTLED),
        sent_notice.c.period_start.in_({notice.period_start for notice in notices}),
    )
    settled = {tuple(row) for row in connection.execute(query)}
    return [
        notice
        for notice in notices
        if not any((subject_id, notice.kind, notice.period_start) in settled for subject_id in notice.subject_ids)
    ]


def _tell(errors: Counter[str]) -> list[str]:
    """Return the reasons, the most frequent first, with their numbers where there are several."""
    if len(errors) == 1:
        return list(errors)
    return [f"{count} x {error}" for error, count in errors.most_common()]


@dataclass(frozen=True)
class _Earlier:
    status: str
    reference: str


@dataclass(frozen=True)
class _Claim:
    """What is written about a notice: claimed, or settled by a receipt, under its own or an earlier reference."""

    receipt: Receipt | None = None
    reference: str | None = None


@dataclass(frozen=True, kw_only=True)
class Postman:
    """Sends a run's notices. `report` hears of each."""

    database: Database
    mailer: Mailer
    job: str
    run_id: str
    as_of: datetime
    report: Callable[[str, int, int], None]

    def send_all(self, notices: Sequence[Notice]) -> Outcome:
        """Send every notice not sent before; one that fails does not stop the others, unless all must fail alike."""
        tally: Counter[Delivery] = Counter()
        errors: Counter[str] = Counter()
        rejected: list[str] = []
        stopped_by: Receipt | None = None
        outages = 0
        for position, notice in enumerate(notices, start=1):
            receipt = stopped_by or self._send(notice)
            if receipt is None:
                continue
            outages = outages + 1 if receipt.is_outage else 0
            if receipt.final or outages == MAX_OUTAGES:
                stopped_by = replace(receipt, delivery=Delivery.FAILED)
            tally[receipt.delivery] += 1
            if receipt.error:
                errors[receipt.error] += 1
            if receipt.delivery is Delivery.REJECTED:
                rejected += notice.subject_ids
            self.report("mail", position, len(notices))
        return Outcome(
            target="mail",
            matched=len(notices),
            notified=tally[Delivery.SENT],
            undelivered=tally[Delivery.UNDELIVERED],
            failed=tally[Delivery.FAILED] + tally[Delivery.UNKNOWN],
            skipped=tally[Delivery.REJECTED],
            details={
                **({"errors": _tell(errors)} if errors else {}),
                **({"rejected_ids": sorted(rejected)[:IDS_SHOWN]} if rejected else {}),
            },
        )

    def _send(self, notice: Notice) -> Receipt | None:
        """Send one notice; return None where it was settled before."""
        earlier = self.database.transaction(lambda connection: self._claim(connection, notice))
        receipt, reference = None, None
        if earlier is not None:
            if earlier.status in SETTLED:
                return None
            try:
                receipt = self.mailer.find(earlier.reference)
            except MailerUnavailableError as error:
                return Receipt(Delivery.UNKNOWN, error=str(error), is_outage=True)
            if receipt is not None:
                reference = earlier.reference
            else:
                # It never went out: from here on it is known by this run's reference.
                self.database.transaction(lambda connection: self._write(connection, notice, _Claim()))
        if receipt is None:
            receipt = self.mailer.send(notice.message)
        if receipt.delivery is Delivery.REJECTED and not notice.settled_by_rejection:
            receipt = Receipt(Delivery.FAILED, error=f"the address that {notice.kind} goes to is rejected for good")
        if receipt.delivery is not Delivery.UNKNOWN:
            settled = _Claim(receipt, reference)
            self.database.transaction(lambda connection: self._write(connection, notice, settled))
        return receipt

    def _claim(self, connection: sa.Connection, notice: Notice) -> "_Earlier | None":
        """Claim the notice; return what an earlier run made of it, if that is settled or unknown."""
        known = connection.execute(
            sa.select(sent_notice.c.status, sent_notice.c.sent_at, sent_notice.c.reference)
            .where(self._is_about(notice), sent_notice.c.status.in_((*SETTLED, CLAIMED)))
            .order_by(sent_notice.c.status == CLAIMED, sent_notice.c.sent_at)
            .with_for_update()
        ).first()
        if known is None:
            self._write(connection, notice, _Claim())
            return None
        if known.status in SETTLED:
            # A row that joined the matter later, such as a second account of one person, shares its notice.
            receipt = Receipt(Delivery(known.status), known.sent_at)
            self._write(connection, notice, _Claim(receipt, known.reference))
        return _Earlier(known.status, known.reference)

    def _write(self, connection: sa.Connection, notice: Notice, claim: "_Claim") -> None:
        rows = [
            {
                "job": self.job,
                "subject_id": subject_id,
                "kind": notice.kind,
                "period_start": notice.period_start,
                "as_of": self.as_of,
                "sent_at": claim.receipt.sent_at if claim.receipt else None,
                "status": claim.receipt.delivery.value if claim.receipt else CLAIMED,
                "reference": claim.reference or notice.message.reference,
                "run_id": self.run_id,
            }
            for subject_id in notice.subject_ids
        ]
        statement = insert(sent_notice)
        changed = {name: statement.excluded[name] for name in ("as_of", "sent_at", "status", "reference", "run_id")}
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=list(sent_notice.primary_key.columns),
                set_=changed,
                # Not IN: its parameters cannot be expanded for several rows at once.
                where=sa.and_(*(sent_notice.c.status != settled for settled in SETTLED)),
            ),
            rows,
        )

    def _is_about(self, notice: Notice) -> sa.ColumnElement[bool]:
        return sa.and_(
            sent_notice.c.job == self.job,
            sent_notice.c.subject_id.in_(notice.subject_ids),
            sent_notice.c.kind == notice.kind,
            sent_notice.c.period_start == notice.period_start,
        )
