"""Read a run's options and a job's settings: from run config, else the environment, else the default."""

import enum
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.instants import as_utc
from cath_dagster.core.model.scalar import Scalar

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No service is older, and no retention period may lead before the calendar."""


def _parse_instant(value: object) -> datetime:
    # Pydantic would also take a number of seconds, and so a mistyped date for an instant of 1970.
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("write an instant in ISO 8601, like 2026-11-20T01:00:00Z") from None
    if not isinstance(value, datetime):
        raise ValueError("write an instant in ISO 8601, like 2026-11-20T01:00:00Z")  # noqa: TRY004 - pydantic's protocol
    if as_utc(value) < EARLIEST:
        raise ValueError(f"nothing is measured from before {EARLIEST:%Y-%m-%d}")
    return value


Days = Annotated[int, Field(ge=0, le=36_500)]
"""A whole number of days, at most a century: a slip of the keyboard is no retention period."""


TIMEOUT = "timeout_seconds"
TIMEOUT_DESCRIPTION = (
    "After so many seconds the run ends its work: the statement is cancelled, its transaction rolled back, the lock "
    "released; what was committed stays. It counts the whole run, with what is repeated."
)


class JobSettings(BaseModel):
    """A job's own settings; each field's description speaks to an operator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout_seconds: int | None = Field(default=None, ge=1, le=86_400, description=TIMEOUT_DESCRIPTION)
    retry_attempts: int | None = Field(
        default=None,
        ge=0,
        le=10,
        description="How often a run that failed is repeated under its lock, after the first attempt. Not repeated is one "
        "that was refused, timed out or cancelled, nor one that did its work but for single items.",
    )
    retry_delay_seconds: int | None = Field(
        default=None,
        ge=1,
        le=3_600,
        description="Seconds before the first repetition; later waits grow.",
    )

    timeout_key: ClassVar[str] = TIMEOUT
    """The setting that says how long a run may take; of a job that knew `timeout_seconds` as something else, another."""
    load_only: ClassVar[frozenset[str]] = frozenset()
    """Names that only the environment sets, because they are needed before any run."""

    @property
    def run_seconds(self) -> int | None:
        """For how long the run may go on, None for as long as its specification says."""
        seconds: int | None = getattr(self, self.timeout_key)
        return seconds


class GatedSettings(JobSettings):
    """What every job that judges what it measures may be told."""

    gate: bool = Field(
        default=False,
        description="End the run failed where a check does not pass, as a pipeline wants it. By default a limit that is "
        "broken is a result: the run succeeds and the asset check fails.",
    )


class Pace(enum.StrEnum):
    BULK = "bulk"
    POLITE = "polite"


class PacedSettings(JobSettings):
    """What every job that deletes or changes rows may be told."""

    pace: Pace | None = Field(
        default=None,
        description="bulk: as fast as one DELETE, in transactions of at most 100 ms. polite: bursts of about a millisecond "
        "with rests in between, longer while the server shows that others wait. Unset: polite for a scheduled run on a "
        "table of 256 MB or more, bulk otherwise.",
    )


class PurgeSettings(PacedSettings):
    """What every job that deletes rows may be told besides."""

    drop_partitions: bool = Field(
        default=False,
        description="Detach and drop a partition whose rows are all past the cutoff, in place of deleting them. It must "
        "be the role's own, and nothing may refer to it. With undo_days its rows are deleted and archived instead.",
    )
    vacuum: bool = Field(
        default=False,
        description="VACUUM a table afterwards of which the run has deleted 10,000 rows and a tenth or more, and tell its "
        "size and dead rows before and after.",
    )
    ledger_keys: bool = Field(
        default=False,
        description="Write down the key of every row that a run deletes, not of the rows that go along with it, in "
        "maintenance.deleted_key, so that `cath-dagster explain` names the run that deleted a row.",
    )
    allow_cascades: str = Field(
        default="",
        description="Foreign keys, by their constraints' names with commas between, by which ON DELETE CASCADE may take "
        "rows of tables that the job does not know of; they are counted like the job's own. A run that finds another "
        "such key is refused.",
    )
    undo_days: Days = Field(
        default=0,
        description="Days for which what a run deletes can be brought back by `cath-dagster restore`, its files "
        "included; 0 keeps nothing.",
    )
    archive_personal_data_because: str = Field(
        default="",
        description="Why deleted personal data may be kept for so long, in words. Without a reason a run that would "
        "archive some is refused.",
    )

    @property
    def allowed_cascades(self) -> frozenset[str]:
        """The foreign keys of `allow_cascades`."""
        return frozenset(filter(None, (name.strip() for name in self.allow_cascades.split(","))))


S = TypeVar("S", bound=JobSettings)


class RunOptions(BaseModel):
    """What may be said to a run of any job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dry_run: bool = Field(default=False, description="Report what the run would change, and change nothing.")
    as_of: Annotated[datetime, BeforeValidator(_parse_instant), AfterValidator(as_utc)] | None = Field(
        default=None,
        description="The instant from which every cutoff is measured, in ISO 8601, UTC unless it says otherwise. "
        "The tick's time for a scheduled run, now for any other. Not in the future.",
    )
    max_rows: int | None = Field(
        default=None,
        ge=0,
        description="Stop cleanly after this many rows; the next run goes on. No limit by default.",
    )
    allow_large: bool = Field(
        default=False,
        description="Let this run delete more than half of a table, which is refused otherwise.",
    )


class ResolvedOptions(RunOptions):
    """A run's options with its reference time, which was given or is now."""

    as_of: datetime


class RunConfig(BaseModel, Generic[S]):
    """A run's options, complete and checked, with the job's settings."""

    model_config = ConfigDict(frozen=True)

    options: ResolvedOptions
    settings: S


def variable(location: str, job: str, key: str) -> str:
    """Return the environment variable that holds the default of a job's setting."""
    return f"{location}_{job}_{key}".upper()


def read_settings(
    settings_type: type[S], given: Mapping[str, Any], *, location: str, job: str, environ: Mapping[str, str]
) -> S:
    """Return a job's settings; `given` wins over the environment.

    Raises `ConfigurationError` naming the key or variable, the value and what is wrong with it.
    """
    sources: dict[str, str] = {}
    values: dict[str, Any] = {}
    for key in settings_type.model_fields:
        name = variable(location, job, key)
        if key in given:
            values[key], sources[key] = given[key], key
        elif environ.get(name):
            values[key], sources[key] = environ[name], name
    try:
        return settings_type(**values)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, sources)) from None


def read_run_config(
    settings_type: type[S],
    given: Mapping[str, Any],
    *,
    location: str,
    job: str,
    environ: Mapping[str, str],
    now: datetime,
) -> RunConfig[S]:
    """Return what a run should do.

    Raises `ConfigurationError` for an unknown key, a value out of its range, or an `as_of` later than `now`.
    """
    own = set(settings_type.model_fields) - settings_type.load_only
    known = [*RunOptions.model_fields, *sorted(own)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigurationError(f"{job} has no setting {', '.join(unknown)}; it knows {', '.join(known)}")
    try:
        options = RunOptions(**{key: value for key, value in given.items() if key in RunOptions.model_fields})
    except ValidationError as error:
        raise ConfigurationError(_explain(error, {})) from None
    if options.as_of is not None and options.as_of > now:
        raise ConfigurationError(
            f"as_of is {options.as_of.isoformat()}, which is in the future; it is {now.isoformat(timespec='seconds')}"
        )
    settings = read_settings(
        settings_type,
        {key: value for key, value in given.items() if key in own},
        location=location,
        job=job,
        environ=environ,
    )
    resolved = ResolvedOptions(**options.model_dump() | {"as_of": options.as_of or now})
    return RunConfig(options=resolved, settings=settings)


def plain_settings(settings: JobSettings) -> dict[str, Scalar]:
    """Return the values used, as a run's metadata shows them; those of every job only where somebody has set them."""
    of_every_job = frozenset(JobSettings.model_fields) | {settings.timeout_key}
    plain: dict[str, Scalar] = settings.model_dump(mode="json")
    return {key: value for key, value in plain.items() if value is not None or key not in of_every_job}


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    problems = []
    for item in error.errors(include_url=False):
        key = str(item["loc"][0]) if item["loc"] else ""
        wrong = f"{sources.get(key, key)} is {item['input']!r}: " if key else ""
        problems.append(f"{wrong}{item['msg'].removeprefix('Value error, ')}")
    return "; ".join(problems)
