"""What a service has to say of its own database: questions that its package brings, asked one by one for the doctor."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import DBAPIError

from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.postgres.database import Database, translate


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a question is answered from. It is read from alone."""

    database: Database
    environ: Mapping[str, str]
    now: datetime


@dataclass(frozen=True)
class Question:
    """One thing to look at; `subject` is what it is about, where it cannot be answered."""

    subject: str
    ask: Callable[[Asked], Iterable[Finding]]


def ask_all(questions: Sequence[Question], asked: Asked) -> Iterator[Finding]:
    """Yield the findings of every question; one that cannot be answered is a problem, and keeps none from being asked."""
    for question in questions:
        try:
            yield from list(question.ask(asked))
        except MaintenanceError as error:
            yield _unanswered(question, str(error))
        except DBAPIError as error:
            yield _unanswered(question, str(translate(error)))


def _unanswered(question: Question, why: str) -> Finding:
    return Finding(subject=question.subject, level=Level.PROBLEM, message=f"cannot be told: {why}")
