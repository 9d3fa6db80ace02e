"""What e-mails say: the keys that the provider's templates expect, apart from the logic that decides on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cath_dagster.core.untrusted_text import Ours, one_line

ENVIRONMENT_NAMES = {
    "prod": "Production",
    "stg": "Staging",
    "test": "Test",
    "ithc": "ITHC",
    "demo": "Demo",
    "sbox": "Sandbox",
    "local": "Local",
}
TEMPLATES = ("media_warning", "cft_warning", "crime_warning", "media_report", "no_match_report")
"""Our names of the provider's templates."""
REVIEW_HEADING = "To be reviewed, the location id is that of an existing location:"
REMOVED_HEADING = "Removed before any report could name them:"
UNNAMED = "user"


@dataclass(frozen=True)
class Sighting:
    """One artefact without a matching location."""

    location_id: str
    provenance: str
    artefact_id: str


def environment_name(value: str | None) -> str:
    """Return the environment's name as the team knows it; one of another name stays as it is."""
    name = value or "local"
    return ENVIRONMENT_NAMES.get(name, name)


def full_name(first_name: str | None, surname: str | None) -> str:
    """Return how a user is addressed; a template key must not be empty."""
    parts = (one_line(part).strip() for part in (first_name, surname) if part)
    return " ".join(part for part in parts if part) or UNNAMED


def media_warning(name: str, verification_link: str) -> dict[str, str | list[str]]:
    return {"full_name": name, "verification_page_link": Ours(verification_link)}


def idam_warning(name: str, last_activity: datetime, cft_link: str, crime_link: str) -> dict[str, str | list[str]]:
    return {
        "full_name": name,
        "last_signed_in_date": f"{last_activity:%d %B %Y}",
        "cft_sign_in_link": Ours(cft_link),
        "crime_sign_in_link": Ours(crime_link),
    }


def no_match_report(
    sightings: Sequence[Sighting], to_review: Sequence[Sighting], removed: Sequence[Sighting], environment: str
) -> dict[str, str | list[str]]:
    lines = [_line(sighting) for sighting in sightings]
    for heading, others in ((REVIEW_HEADING, to_review), (REMOVED_HEADING, removed)):
        if others:
            lines += [heading, *(_line(sighting) for sighting in others)]
    return {"array_of_ids": lines, "env_name": environment}


def media_report(environment: str, address: str | None = None) -> dict[str, str | list[str]]:
    """Return the report's keys; with `address` instead of a download link, for a file too large to send."""
    keys: dict[str, str | list[str]] = {"env_name": environment}
    if address is not None:
        keys["link_to_file"] = Ours(f"The report is too large to be sent. It lies at {address}")
    return keys


def _line(sighting: Sighting) -> str:
    return f"{sighting.location_id} - {sighting.provenance} ({sighting.artefact_id})"
