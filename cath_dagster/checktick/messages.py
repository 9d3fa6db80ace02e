"""What CheckTick's mails say; the words themselves are in `templates/`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import quote

from cath_dagster.core.ports.letters import write
from cath_dagster.core.ports.mail import Content
from cath_dagster.core.untrusted_text import Ours

URGENT_DAYS, IMPORTANT_DAYS = 1, 7
MAX_MONTHS = 24
"""By which the service lets a retention period be extended."""


@dataclass(frozen=True, kw_only=True)
class UpcomingDeletion:
    """What an owner must know of a survey that will be deleted. `days` are whole days by the calendar, in UTC."""

    survey_name: str = field(repr=False)
    slug: str
    owner_name: str = field(repr=False)
    days: int
    tier: int
    deletion_date: datetime
    grace_days: int
    site_url: str

    @property
    def urgency(self) -> str:
        if self.tier <= URGENT_DAYS:
            return "URGENT"
        return "Important" if self.tier <= IMPORTANT_DAYS else "Notice"

    @property
    def when(self) -> str:
        return {0: "today", 1: "tomorrow"}.get(self.days, f"in {self.days} days")

    @property
    def date(self) -> str:
        return f"{self.deletion_date.day} {self.deletion_date:%B %Y at %H:%M} UTC"

    @property
    def dashboard(self) -> str:
        return Ours(f"{self.site_url}/surveys/{quote(self.slug, safe='')}/dashboard/")

    @property
    def guide(self) -> str:
        return Ours(f"{self.site_url}/docs/data-governance-overview/")

    @property
    def site(self) -> str:
        return Ours(self.site_url)


def deletion_warning(warning: UpcomingDeletion) -> Content:
    """Return the mail to the owner of a survey whose retention period is about to end."""
    values = {"warning": warning, "max_months": MAX_MONTHS}
    return Content(
        subject=f"{warning.urgency}: “{warning.survey_name}” will be deleted {warning.when}",
        text=_render("deletion_warning.txt", values),
        html=_render("deletion_warning.html", values),
    )


def masked(warning: UpcomingDeletion) -> UpcomingDeletion:
    """Return a warning to be looked at: dates and days as they are, names made up."""
    return replace(warning, survey_name="‹survey›", slug="survey", owner_name="‹owner›")


def _render(name: str, values: Mapping[str, object]) -> str:
    return write("cath_dagster.checktick", name, values)
