"""A mail provider that answers as it is told, and a run that sends by it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.outbox.notices import Notice, NoticeSender, Patience
from cath_dagster.core.ports.mail import Delivery, MailerUnavailableError, Message, Receipt
from cath_dagster.core.postgres.database import Database

AS_OF = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
SENT_AT = datetime(2026, 11, 18, 1, 5, tzinfo=UTC)
SENT = Receipt(Delivery.SENT, SENT_AT)
FAILED = Receipt(Delivery.FAILED, error="500 server error")
REJECTED = Receipt(Delivery.REJECTED, error="400 not a valid address")
UNKNOWN = Receipt(Delivery.UNKNOWN, error="no answer")
UNDELIVERED = Receipt(Delivery.UNDELIVERED)


@dataclass
class Provider:
    """A mail provider that answers by recipient, and takes every message it has no answer for."""

    sql: psycopg.Connection[Any]
    answers: dict[str, Receipt] = field(default_factory=dict)
    taken: dict[str, Receipt] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    next_answers: list[Receipt] = field(default_factory=list)
    """Given one after the other, whoever it is about."""
    took_seconds: float = 0
    """For each message, by the clock of the run."""
    seconds: float = 0
    is_silent: bool = False
    keeps_no_account: bool = False
    interrupts: bool = False
    attachment_limit: int = 2_000_000

    def send(self, message: Message) -> Receipt:
        self.asked.append(message.recipient)
        self.references.append(message.reference)
        self.statuses += [row[0] for row in self.sql.execute("SELECT status FROM maintenance.sent_notice")]
        if self.interrupts:
            raise KeyboardInterrupt
        self.seconds += self.took_seconds
        if self.next_answers:
            return self.next_answers.pop(0)
        return self.answers.get(message.recipient, SENT)

    def check(self) -> None:
        """Answer always."""

    def close(self) -> None:
        """There is nothing to close."""

    def find(self, reference: str) -> Receipt | None:
        if self.is_silent:
            raise MailerUnavailableError("no answer")
        if self.keeps_no_account:
            return Receipt(Delivery.UNKNOWN)
        return self.taken.get(reference)


@dataclass
class PostOffice:
    database: Database
    sql: psycopg.Connection[Any]
    provider: Provider
    waited: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    pauses: tuple[float, ...] = (5.0, 60.0, 300.0)
    on_wait: Callable[[], None] = lambda: None

    def send(self, *notices: Notice, as_of: datetime = AS_OF) -> Outcome:
        return self.sender(as_of).send_all(notices)

    def sender(self, as_of: datetime) -> NoticeSender:
        return NoticeSender(
            database=self.database,
            mailer=self.provider,
            job="tidy",
            run_id="run-1",
            as_of=as_of,
            report=lambda target, done, total: None,
            say=self.said.append,
            patience=Patience(self.pauses, self.wait),
            clock=lambda: self.provider.seconds,
        )

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.on_wait()

    def send_each(self, notices: Iterator[Notice]) -> Outcome:
        return self.sender(AS_OF).send_all(notices)

    def book(self) -> dict[str, tuple[str, datetime | None]]:
        rows = self.sql.execute("SELECT subject_id, status, sent_at FROM maintenance.sent_notice")
        return {subject_id: (status, sent_at) for subject_id, status, sent_at in rows}


@pytest.fixture
def office(cath_url: str) -> Iterator[PostOffice]:
    engine = open_engine(cath_url, variable="CATH_DATABASE_URL", application_name="tidy:run-1")
    with psycopg.connect(cath_url, autocommit=True) as sql, Database(engine) as database:
        yield PostOffice(database, sql, Provider(sql))


def notice(
    *subject_ids: str, to: str = "ann", kind: str = "warning", period: date = date(2026, 1, 1), reference: str = ""
) -> Notice:
    message = Message(
        recipient=to, template="warning", personalisation={}, reference=reference or f"tidy/{kind}/{subject_ids[0]}"
    )
    return Notice(subject_ids=subject_ids, kind=kind, period_start=period, message=message)
