"""Add the trials of each job up, and tell of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rich.table import Table

from benchmarks.kills.trial import Judgement, Kind

HEADS = ("job", *(f"{kind} killed" for kind in Kind), "trials", "faults", "repeated", "given up")
INTRODUCTION = """\
# What a kill leaves

`python -m benchmarks.kills` runs every job that changes anything on a sample of its service, and at a random instant of the run
kills its process (SIGKILL), ends its sessions on the server, or cuts its connections. Then the job is run again, in one of
five trials after a second kill, until a run ends undisturbed. What is left is held against what one undisturbed run leaves: every
row of every table, the files, the mails that the providers took, and the ledger's account of the batches. Columns and files in
which two undisturbed runs differ, such as the instant of a deletion, are left out.

A *fault* is a row, file or mail that is lost, is there twice or went twice, a batch that the ledger counts twice or not at all,
or a job that the next run does not finish. Nobody can ask a mail server whether it took a message whose answer was lost: a
deletion warning is *repeated* under the same Message-ID, by which mail programs know it again, and a digest is *given up*,
and said to be. GOV.UK Notify is asked by our reference, so that neither happens there.

<!-- The table is written by python -m benchmarks.kills --publish -->

"""


@dataclass(frozen=True)
class Account:
    """What came of the trials of one job."""

    job: str
    kills: Counter[Kind]
    trials: int
    faults: tuple[str, ...]
    repeated: int
    given_up: int

    @classmethod
    def of(cls, job: str, judged: Sequence[Judgement]) -> Self:
        return cls(
            job=job,
            kills=Counter(kind for judgement in judged for kind in judgement.kills),
            trials=len(judged),
            faults=tuple(fault for judgement in judged for fault in judgement.faults),
            repeated=sum(judgement.repeated for judgement in judged),
            given_up=sum(judgement.given_up for judgement in judged),
        )

    @property
    def cells(self) -> tuple[str, ...]:
        counts = (*(self.kills[kind] for kind in Kind), self.trials, len(self.faults), self.repeated, self.given_up)
        return (self.job, *(f"{count:,}" for count in counts))


def as_table(accounts: Sequence[Account]) -> Table:
    """Return a table for a terminal."""
    table = Table()
    for head in HEADS:
        table.add_column(head, justify="left" if head == "job" else "right")
    for cells in _rows(accounts):
        table.add_row(*cells)
    return table


def as_markdown(accounts: Sequence[Account]) -> str:
    """Return the page of the documentation."""
    lines = [HEADS, ("---", *("--:" for _ in HEADS[1:])), *_rows(accounts)]
    return INTRODUCTION + "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _rows(accounts: Sequence[Account]) -> list[tuple[str, ...]]:
    every = Account(
        job="all",
        kills=sum((account.kills for account in accounts), Counter()),
        trials=sum(account.trials for account in accounts),
        faults=tuple(fault for account in accounts for fault in account.faults),
        repeated=sum(account.repeated for account in accounts),
        given_up=sum(account.given_up for account in accounts),
    )
    return [account.cells for account in (*accounts, every)]
