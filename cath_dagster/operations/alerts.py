"""What an operator is told: one alert, and the message that one or several of them become."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.untrusted_text import unmarked
from cath_dagster.operations import OPERATIONS
from cath_dagster.operations.bounds import LONGEST_BODY, LONGEST_TITLE, cut, fit

RUNBOOK = "docs/alerts.md"
"""Where the repository says what each alert means; each kind has a heading of its own there."""


class Kind(enum.StrEnum):
    RUN_FAILED = "run_failed"
    RUN_REFUSED = "run_refused"
    TICK_FAILED = "tick_failed"
    DID_NOT_RUN = "did_not_run"
    CHECK_FAILED = "check_failed"
    FALLING_BEHIND = "falling_behind"


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Something that happened once, known by its `occurrence`: seen twice, it is told once.

    `says` holds ids, counts and our own words, never what a database or a person wrote. `path` is the page of the UI
    that shows it. `is_over` says that what was told before is over.
    """

    kind: Kind
    subject: str
    occurrence: str
    title: str
    says: tuple[str, ...]
    at: datetime
    path: str | None = None
    is_over: bool = False

    @property
    def fingerprint(self) -> str:
        """What the rate of messages is limited by."""
        return f"{self.kind.value}:{self.subject}"


class AlertSettings(BaseModel):
    """How operators are told; each field is the variable OPERATIONS_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alert_urls: str = Field(default="", repr=False)
    """Apprise's addresses of the channels, separated by blanks."""
    alert_interval_minutes: int = Field(default=60, ge=0, le=10_080)
    """Between two messages of one fingerprint."""
    env_name: str = ""
    ui_url: str = ""
    runbook_url: str = RUNBOOK
    late_minutes: int = Field(default=15, ge=1, le=1_440)
    """After its time a tick counts as missed, a queued run as stuck; the daemon catches up within minutes."""
    skipped_ticks: int = Field(default=3, ge=1, le=100)
    runs_behind: int = Field(default=3, ge=2, le=100)
    heartbeat_seconds: int = Field(default=300, ge=60, le=86_400)
    """Daemons beat every 30 seconds, and miss some while they load code."""
    locations: str = ""
    """The code locations that should load, separated by blanks; without it those of this version that ever did."""

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.alert_urls.split())


def read_alert_settings(environ: Mapping[str, str]) -> AlertSettings:
    """Return the settings; raise `ConfigurationError` naming the variable that cannot be used."""
    names = {key: f"{OPERATIONS.prefix}_{key.upper()}" for key in AlertSettings.model_fields}
    given: dict[str, Any] = {key: environ[name] for key, name in names.items() if environ.get(name)}
    try:
        return AlertSettings(**given)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=True)[0]
        key = str(wrong["loc"][0])
        raise ConfigurationError(f"{names[key]} is {wrong['input']!r}: {wrong['msg']}") from None


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A message as it goes to every channel; its body is Markdown, which each channel makes its own of."""

    title: str
    body: str
    is_over: bool


def write_letter(
    settings: AlertSettings,
    *,
    kind: str,
    title: str,
    says: list[str],
    path: str | None,
    is_over: bool,
    others: int,
    room: int = LONGEST_BODY,
    title_room: int = LONGEST_TITLE,
) -> Letter:
    """Return the message of a sealed alert, its body within so much `room`, its title within `title_room`.

    `others` are the earlier ones that it tells of as well.
    """
    lines = [unmarked(line) for line in says]
    closing = []
    if path:
        closing.append(f"See {_link(settings.ui_url.rstrip('/') + path)}.")
    if others:
        told = "alert" if others == 1 else "alerts"
        closing.append(f"It stands for {others} earlier {told} of the same kind as well.")
    if not is_over:
        closing.append(f"What to do: {_link(settings.runbook_url + '#' + kind.replace('_', '-'))}.")
    prefix = f"{settings.env_name}: " if settings.env_name else ""
    heading = cut(f"{prefix}{unmarked(title)}", title_room)
    return Letter(title=heading, body=fit(lines, closing, room), is_over=is_over)


def _link(target: str) -> str:
    """Return a link; of what is no URL the text, for whoever knows where to look."""
    return f"[{target}]({target})" if target.startswith(("http://", "https://")) else f"`{target}`"
