"""What only some jobs have: work on a database, partitions, mail, several steps. Each is a part of a `JobSpec` of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic

import sqlalchemy as sa
from typing_extensions import TypeVar

from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.outbox.forgetting import Asking
from cath_dagster.core.outbox.left_files import LeftFile
from cath_dagster.core.run.job_run import JobRun

S_contra = TypeVar("S_contra", bound=JobSettings, contravariant=True, default=Any)
"""The settings that a job's functions are given."""


@dataclass(frozen=True, kw_only=True)
class Step(Generic[S_contra]):
    """A part of a job whose parts are done in order, each an op of its own.

    One that leaves something undone does not keep the next from its work; one that is refused does.
    """

    name: str
    run: Callable[[JobRun, S_contra], None]
    summary: str
    targets: tuple[str, ...] = ()
    """The tables and effects that this part reports on."""
    purges: bool = False
    """Whether it is this part that deletes what the job plans to purge."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a part of a job makes of rows that a later run deletes: it writes `values` into those that match.

    `says` is what became of them then, such as "soft-deleted"; `is_made` finds those that it has been made to. As of a
    purge, a row that matches at one reference time matches at every later one.
    """

    table: sa.Table
    rule: str
    says: str
    predicate: sa.ColumnElement[bool]
    is_made: sa.ColumnElement[bool]
    values: Mapping[str, sa.ColumnElement[Any]]
    conditions: Mapping[str, sa.ColumnElement[bool]]


@dataclass(frozen=True, kw_only=True)
class DueRows:
    """Rows of one table that give a job something to do: the question that a sensor asks before it starts a run."""

    table: sa.Table
    predicate: sa.ColumnElement[bool]
    index: tuple[sa.Column[Any], ...]
    """The columns, in order, by whose index the question is cheap; the doctor names one that is missing."""
    index_where: sa.ColumnElement[bool] | None = None
    """The predicate of a partial index, where few rows are ever due."""


@dataclass(frozen=True, kw_only=True)
class DatabaseWork(Generic[S_contra]):
    """What a job does to the location's database. A job without it runs without connecting to one: no lock, no ledger."""

    targets: tuple[str, ...]
    """The tables a run reports on, the one with the rule first."""
    privileges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the job's role needs on tables, those of ours with their schema, and on the schema `maintenance` itself.

    Locking rows takes UPDATE.
    """
    purges: Callable[[Planning, S_contra], Sequence[Purge]] | None = None
    """What a run with these settings would delete, as a pure function of the reference time.

    A row that matches at one time matches at every later one, if nobody changes it. None: the run itself decides.
    """
    change: Callable[[Planning, S_contra], Change] | None = None
    """What a run makes of rows before a later one purges them, for a job of two phases; as pure as `purges`."""
    age_columns: Mapping[str, str] = field(default_factory=dict)
    """Per table the column by whose age its rows expire, for the doctor."""
    needs_every_table: bool = True
    """Whether a run is of no use where one of its tables is not as it should be. False for a job whose parts stand alone
    and say so themselves.
    """
    is_due: Callable[[Planning, S_contra], Sequence[DueRows]] | None = None
    """Whether a run would find anything to do, asked at every interval; a run starts only where one row is there.

    One statement, which is given a second. None: a run starts at every interval.
    """
    on_files_left: Callable[[JobRun, sa.Connection, Sequence[LeftFile]], None] | None = None
    """Records in the service's own tables that files are left to be done by hand, in the transaction that notes them."""


@dataclass(frozen=True, kw_only=True)
class Partitions:
    """For a job whose run works on one week, or day. Runs of different ones do not exclude each other."""

    default: Callable[[datetime], str]
    """The week of a run that names none, at its reference time."""
    check: Callable[[str], object]
    """Raises `ConfigurationError` for a partition that cannot be one of the job's."""
    span: str = "week"
    """What a partition is, in a word."""
    is_optional: bool = False
    """Whether a run that names none works on several, as the job itself decides, in place of the default."""


@dataclass(frozen=True, kw_only=True)
class MailWork(Generic[S_contra]):
    """For a job that sends mail: its notices are kept in the location's database, each until it matters no more."""

    without_provider: str
    """What comes of a run where no mail provider is configured, for the doctor."""
    forgets: Callable[[Asking, S_contra], sa.ColumnElement[bool]]
    """Which of the job's notices matter no more once a run with these settings has done its work."""
