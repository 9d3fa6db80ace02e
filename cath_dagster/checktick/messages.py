"""What the warnings say, as text and as HTML."""

from dataclasses import dataclass, field
from datetime import datetime
from html import escape

from cath_dagster.core.mail import Content

URGENT_DAYS, IMPORTANT_DAYS = 1, 7
MAX_MONTHS = 24
"""By which the service lets a retention period be extended."""


@dataclass(frozen=True, kw_only=True)
class Warning:  # noqa: A001 - what it is
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
        return f"{self.deletion_date:%-d %B %Y at %H:%M} UTC"

    @property
    def dashboard(self) -> str:
        return f"{self.site_url}/surveys/{self.slug}/dashboard/"

    @property
    def guide(self) -> str:
        return f"{self.site_url}/docs/data-governance-overview/"


def deletion_warning(warning: Warning) -> Content:
    """Return the mail to the owner of a survey whose retention period is about to end."""
    greeting, what, options, after = _paragraphs(warning)
    links = [("Open the survey", warning.dashboard), ("How long data is kept, and why", warning.guide)]
    text = "\n\n".join(
        [
            greeting,
            what,
            "What you can do:\n" + "\n".join(f"- {option}" for option in options),
            after,
            "\n".join(f"{label}: {link}" for label, link in links),
            f"This message was sent by {warning.site_url} because you own this survey.",
        ]
    )
    body = "".join(
        [
            f"<p>{escape(greeting)}</p>",
            f"<p>{escape(what)}</p>",
            "<p>What you can do:</p>",
            f"<ul>{''.join(f'<li>{escape(option)}</li>' for option in options)}</ul>",
            f"<p>{escape(after)}</p>",
            *(f'<p><a href="{escape(link)}">{escape(label)}</a></p>' for label, link in links),
            '<p style="color:#555">This message was sent by '
            f'<a href="{escape(warning.site_url)}">{escape(warning.site_url)}</a> because you own this survey.</p>',
        ]
    )
    subject = f"{warning.urgency}: the data of “{warning.survey_name}” will be deleted {warning.when}"
    html = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(subject)}</title></head>'
        f'<body style="font-family:sans-serif;line-height:1.5;max-width:40em">{body}</body></html>'
    )
    return Content(subject=subject, text=f"{text}\n", html=html)


def _paragraphs(warning: Warning) -> tuple[str, str, tuple[str, ...], str]:
    return (
        f"Hello {warning.owner_name},",
        f"the retention period of your survey “{warning.survey_name}” ends {warning.when}, on {warning.date}. The survey "
        "and every response to it are then deleted automatically.",
        (
            "Export the data now, if you still need it.",
            f"Extend the retention period on the survey's dashboard, up to {MAX_MONTHS} months in all.",
            "Do nothing: the deletion takes place as planned.",
        ),
        f"For {warning.grace_days} days after that date an administrator can still bring the survey back. Then it is gone "
        "for good, with its responses, images and encryption keys.",
    )
