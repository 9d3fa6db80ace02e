"""What the API takes and gives, as its OpenAPI document says it. Fields are named as the columns that they come from."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from cath_dagster.web.rights import Role
from cath_dagster.web.text import storable, storable_json

Text = Annotated[str, AfterValidator(storable)]
Reason = Annotated[str, AfterValidator(storable), Field(min_length=1, max_length=500)]
Json = Annotated[dict[str, Any], AfterValidator(storable_json)]
RunStatus = Literal["queued", "running", "success", "failed", "timeout", "refused", "skipped", "canceled"]
Trigger = Literal["schedule", "sensor", "startup", "dependency", "manual", "api", "cli", "backfill"]
ApprovalStatus = Literal["pending", "approved", "rejected", "expired", "refused"]


class Given(BaseModel):
    """What a client sends: an unknown member is a mistake that should be told."""

    model_config = ConfigDict(extra="forbid")


class RunRequest(Given):
    """A run to be launched."""

    parameters: Json = Field(default_factory=dict, description="The job's own settings, by its JSON Schema.")
    as_of: AwareDatetime | None = Field(default=None, description="The run's reference time; now if it is left out.")
    dry_run: bool = Field(default=False, description="Report what would change, and change nothing.")
    max_rows: int | None = Field(default=None, ge=0, le=10**12, description="Stop cleanly after so many rows.")
    partition: Text | None = Field(default=None, max_length=100, description="Of a job with partitions, which one.")
    plan: Text | None = Field(
        default=None,
        max_length=100,
        description="A dry run of this job that has ended: its settings and reference time are taken, and no more rows than it "
        "counted are changed. Nothing else may be said then.",
    )
    reason: Reason | None = None


class PlanRequest(Given):
    """A dry run to be launched."""

    parameters: Json = Field(default_factory=dict, description="The job's own settings, by its JSON Schema.")
    as_of: AwareDatetime | None = Field(default=None, description="The run's reference time; now if it is left out.")
    max_rows: int | None = Field(default=None, ge=0, le=10**12)
    partition: Text | None = Field(default=None, max_length=100)


class Launched(BaseModel):
    run_id: str
    url: str


class EnabledRequest(Given):
    enabled: bool
    reason: Reason | None = None


class HoldRequest(Given):
    reason: Reason
    until: AwareDatetime = Field(description="When the hold lifts itself; at most 90 days from now.")


class HoldAllRequest(HoldRequest):
    location: Text | None = Field(
        default=None, max_length=100, description="A code location; all jobs of every one if it is left out."
    )


class HeldJobs(BaseModel):
    jobs: list[str] = Field(description="Those that it was done to, as `location/name`.")


class ApprovalRequest(Given):
    run_id: Text = Field(min_length=1, max_length=100, description="The run that was refused, or a dry run of it.")
    reason: Reason


class ApproveRequest(Given):
    reason: Reason | None = None


class RejectRequest(Given):
    reason: Reason


class Hold(BaseModel):
    reason: str
    held_by: str
    held_at: datetime
    until: datetime


class Job(BaseModel):
    location: str
    name: str
    summary: str
    description: str
    owner: str
    schedule: str | None
    timezone: str | None
    enabled: bool | None = Field(description="Null of a job without a schedule.")
    registered: bool
    needs_approval: bool
    last_run_at: datetime | None
    last_run_id: str | None
    last_status: RunStatus | None
    last_error: str | None
    last_duration_ms: int | None
    total_runs: int
    total_failures: int
    average_duration_ms: int | None
    next_run_at: datetime | None
    running_run_id: str | None
    hold: Hold | None


class JobList(BaseModel):
    items: list[Job]
    next_cursor: str | None
    scheduling: Literal["running", "stopped"]


class JobDetail(Job):
    parameters_schema: dict[str, Any] = Field(description="JSON Schema of `parameters` of a run.")
    timeout_seconds: float
    partitioned: bool
    after: list[str]
    recent_runs: list["RecentRun"]


class RecentRun(BaseModel):
    run_id: str
    status: RunStatus
    started_at: datetime
    duration_ms: int | None
    dry_run: bool


class Run(BaseModel):
    location: str
    job: str
    run_id: str | None = Field(description="Null of ticks that were skipped: there was no run.")
    attempt: int
    trigger: Trigger | None
    actor: str | None
    dry_run: bool
    started_at: datetime | None
    completed_at: datetime | None
    status: RunStatus
    duration_ms: int | None
    error: str | None
    parameters: dict[str, Any]
    outcomes: list[Any]
    missed_ticks: int
    skipped_ticks: int


class RunList(BaseModel):
    items: list[Run]
    next_cursor: str | None


class RunDetail(Run):
    attempts: list[Run] = Field(description="All attempts, the last first.")
    url: str | None = Field(description="The run in Dagster's own UI, where it is known.")


class Approval(BaseModel):
    id: str
    location: str
    job: str
    run_id: str
    status: ApprovalStatus
    reason: str
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    as_of: datetime
    parameters: dict[str, Any]
    counts: dict[str, int]
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None
    approved_run_id: str | None


class ApprovalList(BaseModel):
    items: list[Approval]
    next_cursor: str | None


class AuditEntry(BaseModel):
    sequence: int
    at: datetime
    actor: str
    origin: str
    action: str
    location: str | None
    job: str | None
    run_id: str | None
    reason: str | None
    parameters: dict[str, Any]
    result: str
    hash: str


class AuditList(BaseModel):
    items: list[AuditEntry]
    next_cursor: str | None


class ForecastItem(BaseModel):
    location: str
    job: str
    at: datetime
    timezone: str
    every_seconds: float | None = Field(description="Of a job at an interval, which is told once; else null.")


class Forecast(BaseModel):
    items: list[ForecastItem]
    next_cursor: str | None


class Alert(BaseModel):
    alert_id: int
    kind: str
    title: str
    says: list[str]
    is_over: bool
    raised_at: datetime
    settled_at: datetime | None


class AlertList(BaseModel):
    items: list[Alert]
    next_cursor: str | None


class Token(BaseModel):
    id: str
    name: str
    role: Role
    locations: list[str] = Field(description="`*` alone for every one.")
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


class TokenList(BaseModel):
    items: list[Token]
    next_cursor: str | None


class TokenRequest(Given):
    name: Text = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.-]+$")
    role: Role
    locations: list[Text] = Field(default_factory=list, max_length=100, description="Every location if it is left out.")
    expires_in_days: int | None = Field(default=None, ge=1, le=3_650)


class NewToken(BaseModel):
    id: str
    name: str
    token: str = Field(description="Shown now and never again.")


class Problem(BaseModel):
    """RFC 9457. A problem may have members of its own, such as `run_id`."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str


class Health(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    status: Literal["ready", "not ready"]
    database: bool
    dagster: bool
    scheduling: Literal["running", "stopped"]
