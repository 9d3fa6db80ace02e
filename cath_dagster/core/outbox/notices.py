"""Send each notice once: claimed in the database before it is sent, confirmed after.

A run killed between the two leaves a claim whose outcome nobody knows; the next run asks the provider by our
reference before it sends anything again. A provider that cannot be asked (SMTP) leaves the choice to the notice:
what must not be missed goes again under the same reference, what must not come twice is given up.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.maintenance.tables import sent_notice
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.outbox.tally import Tally, summarise
from cath_dagster.core.ports.breaker import Breaker
from cath_dagster.core.ports.mail import Delivery, Mailer, MailerUnavailableError, Message, Receipt
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.expressions import is_any

DUE = "due"
"""Enqueued to be sent, with what makes it necessary, and not tried yet."""
CLAIMED = "claimed"
SETTLED = (Delivery.SENT.value, Delivery.REJECTED.value)
"""The provider took a notice in one of these, or will never take it."""
DONE = (*SETTLED, Delivery.GIVEN_UP.value)
"""A notice in one of these does not go again."""
MAX_OUTAGES = 3
"""Messages in a row for which the provider was asked in vain; the others are put off."""
SLOW_SECONDS = 20.0
"""A provider that takes so long over one message would take hours over a thousand: as bad as no answer."""
MAX_PUT_OFF = 1_000
"""Messages that are kept in memory to be tried again by the same run."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One message about one matter: `subject_ids` are all the rows it stands for, `period_start` the period.

    One whose address is rejected for good has failed, and is sent once the address is mended. With
    `settled_by_rejection` it is done with: nobody can warn a person who has no address.

    `may_repeat`: of an outcome that nobody can tell any more, whether the message goes again (with the same
    reference, so that a mail program may see that it is the same) or is given up.
    """

    subject_ids: tuple[str, ...]
    kind: str
    period_start: date
    message: Message
    settled_by_rejection: bool = False
    may_repeat: bool = True


def not_settled(connection: sa.Connection, job: str, notices: Sequence[Notice]) -> list[Notice]:
    """Return the notices that no earlier run is done with."""
    query = sa.select(sent_notice.c.subject_id, sent_notice.c.kind, sent_notice.c.period_start).where(
        sent_notice.c.job == job,
        sent_notice.c.status.in_(DONE),
        sent_notice.c.period_start.in_({notice.period_start for notice in notices}),
        is_any(sent_notice.c.subject_id, [subject_id for notice in notices for subject_id in notice.subject_ids]),
    )
    settled = {tuple(row) for row in connection.execute(query)}
    return [
        notice
        for notice in notices
        if not any((subject_id, notice.kind, notice.period_start) in settled for subject_id in notice.subject_ids)
    ]


def enqueue(connection: sa.Connection, notices: Iterable[Notice], *, job: str, run_id: str, as_of: datetime) -> None:
    """Enqueue notices, in the transaction of what makes them necessary: a kill cannot part the two."""
    rows = [
        {
            "job": job,
            "subject_id": subject_id,
            "kind": notice.kind,
            "period_start": notice.period_start,
            "as_of": as_of,
            "status": DUE,
            "reference": notice.message.reference,
            "run_id": run_id,
        }
        for notice in notices
        for subject_id in notice.subject_ids
    ]
    if rows:
        connection.execute(insert(sent_notice).on_conflict_do_nothing(), rows)


@dataclass(frozen=True)
class _Earlier:
    status: str
    reference: str


@dataclass(frozen=True)
class Patience:
    """How long a run waits for a provider that says later: greylisting lets in who comes back within five minutes."""

    pauses: tuple[float, ...] = (5.0, 60.0, 300.0)
    """In seconds; before each further attempt at what was put off."""
    sleep: Callable[[float], None] = time.sleep


IMPATIENT = Patience(pauses=(5.0,))
"""For what the next run sends just as well, within minutes."""

PutOff = list[tuple[Notice, Receipt]]


def _say_nothing(message: str) -> None:
    del message


@dataclass(frozen=True, kw_only=True)
class NoticeSender:
    """Sends a run's notices. `report` is called for each, `say` with what is waited for; `clock` counts seconds."""

    database: Database
    mailer: Mailer
    job: str
    run_id: str
    as_of: datetime
    report: Callable[[str, int, int], None]
    say: Callable[[str], None] = _say_nothing
    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.perf_counter

    def send_all(self, notices: Iterable[Notice], *, total: int = 0) -> Outcome:
        """Send every notice not sent before; one that fails does not stop the others, unless all must fail alike.

        They may come one by one, `total` of them if that is known. What the provider puts off is tried again after
        the others, a few times; a provider that does not answer is left alone in between.
        """
        tally = Tally()
        try:
            put_off = self._round(self._counted(notices, tally, total), tally, limit=MAX_OUTAGES)
            for pause in self.patience.pauses:
                if not put_off:
                    break
                reasons = "; ".join(summarise(Counter(receipt.error or "no reason" for _, receipt in put_off)))
                self.say(f"{len(put_off)} messages are put off ({reasons}); they are tried again in {pause:g} s")
                self.mailer.close()
                self.patience.sleep(pause)
                put_off = self._round((notice for notice, _ in put_off), tally, limit=1)
        finally:
            self.mailer.close()
        for notice, receipt in put_off:
            tally.add(notice.subject_ids, receipt)
        return tally.outcome()

    def _counted(self, notices: Iterable[Notice], tally: Tally, total: int) -> Iterator[Notice]:
        for tally.matched, notice in enumerate(notices, start=1):
            yield notice
            self.report("mail", tally.matched, max(tally.matched, total))

    def _round(self, notices: Iterable[Notice], tally: Tally, *, limit: int) -> PutOff:
        """Try each notice once; return those to be tried again, after which the provider may be asked anew."""
        breaker, put_off, stopped_by = Breaker(limit=limit), PutOff(), None
        for notice in notices:
            receipt = stopped_by or self._send_timed(notice, breaker)
            if receipt is None:
                continue
            if stopped_by is None and (receipt.final or breaker.is_open):
                stopped_by = _untried(receipt)
            if receipt.may_be_tried_again and len(put_off) < MAX_PUT_OFF:
                put_off.append((notice, receipt))
            else:
                tally.add(notice.subject_ids, receipt)
        return put_off

    def _send_timed(self, notice: Notice, breaker: Breaker) -> Receipt | None:
        """Send one notice and let the breaker hear whether the provider answered, and in time."""
        started = self.clock()
        receipt = self._send(notice)
        if receipt is not None:
            is_slow = self.clock() - started >= SLOW_SECONDS
            breaker.record(is_outage=receipt.is_outage or is_slow)
            if breaker.in_a_row:
                why = receipt.error or f"the mail provider took over {SLOW_SECONDS:g} s for one message"
                self.say(f"{why}; {breaker.in_a_row} in a row{', the others wait' if breaker.is_open else ''}")
        return receipt

    def _send(self, notice: Notice) -> Receipt | None:
        """Send one notice; return None where it was settled before."""
        # Written before it is claimed: of what cannot be written, nobody should wonder whether it was sent.
        _ = notice.message.content
        earlier = self.database.transaction(lambda connection: self._claim(connection, notice))
        if earlier is None:
            return self._settle(notice, self.mailer.send(notice.message))
        if earlier.status in DONE:
            return None
        try:
            known = self.mailer.find(earlier.reference)
        except MailerUnavailableError as error:
            return Receipt(Delivery.UNKNOWN, error=str(error), is_outage=True)
        if known is None:
            # It never went out: from here on it is known by this run's reference.
            self.database.transaction(lambda connection: self._write(connection, notice, None))
            return self._settle(notice, self.mailer.send(notice.message))
        if known.delivery is Delivery.UNKNOWN:
            known = Receipt(Delivery.GIVEN_UP)
            if notice.may_repeat:
                known = self.mailer.send(replace(notice.message, reference=earlier.reference))
        return self._settle(notice, known, earlier.reference)

    def _settle(self, notice: Notice, receipt: Receipt, reference: str | None = None) -> Receipt:
        """Write down what became of a notice, if that is known, under the reference it went by; return it."""
        if receipt.delivery is Delivery.REJECTED and not notice.settled_by_rejection:
            says = f": {receipt.error}" if receipt.error else ""
            receipt = Receipt(
                Delivery.FAILED, error=f"the address that {notice.kind} goes to is rejected for good{says}"
            )
        if receipt.delivery is not Delivery.UNKNOWN:
            self.database.transaction(lambda connection: self._write(connection, notice, receipt, reference))
        return receipt

    def _claim(self, connection: sa.Connection, notice: Notice) -> "_Earlier | None":
        """Claim the notice; return what an earlier run made of it, if that is settled or unknown."""
        known = connection.execute(
            sa.select(sent_notice.c.status, sent_notice.c.sent_at, sent_notice.c.reference)
            .where(self._is_about(notice), sent_notice.c.status.in_((*DONE, CLAIMED)))
            .order_by(sent_notice.c.status == CLAIMED, sent_notice.c.sent_at)
            .with_for_update()
        ).first()
        if known is None:
            self._write(connection, notice, None)
            return None
        if known.status in DONE:
            # A row that joined the matter later, such as a second account of one person, shares its notice.
            receipt = Receipt(Delivery(known.status), known.sent_at)
            self._write(connection, notice, receipt, known.reference)
        return _Earlier(known.status, known.reference)

    def _write(
        self, connection: sa.Connection, notice: Notice, receipt: Receipt | None, reference: str | None = None
    ) -> None:
        """Write a notice down: claimed, or settled by a receipt, under its own or an earlier reference."""
        rows = [
            {
                "job": self.job,
                "subject_id": subject_id,
                "kind": notice.kind,
                "period_start": notice.period_start,
                "as_of": self.as_of,
                "sent_at": receipt.sent_at if receipt else None,
                "status": receipt.delivery.value if receipt else CLAIMED,
                "reference": reference or notice.message.reference,
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
                where=sa.and_(*(sent_notice.c.status != done for done in DONE)),
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


def _untried(receipt: Receipt) -> Receipt:
    """Return what is said of the messages that are not tried because of how another one ended."""
    if receipt.final:
        return replace(receipt, delivery=Delivery.FAILED)
    return Receipt(
        Delivery.FAILED, error="not tried, because the mail provider does not answer in time", is_outage=True
    )
