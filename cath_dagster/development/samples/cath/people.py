"""Users in every situation of the rules of inactivity, the warnings they were sent, and journalists who apply."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from uuid import UUID

from cath_dagster.development.samples.cath.drawing import Row, scaled, spread, uuid_of

MEDIA = ("B2C_IDAM", "PI_AAD")
WARNING_KIND = {
    "B2C_IDAM": "media_warning",
    "PI_AAD": "media_warning",
    "CFT_IDAM": "cft_warning",
    "CRIME_IDAM": "crime_warning",
}

ENDED_WEEKS = 12


@dataclass(frozen=True)
class _UserGroup:
    """Users in one situation: days since their last activity, and since they were warned of a deletion."""

    size: int
    provenances: tuple[str, ...]
    idle: tuple[int, int]
    warned: tuple[int, int] | None = None
    role: str = "VERIFIED"
    signs_in: bool = True
    # Days since an older B2C_IDAM row of the same address was created, in another spelling and never used.
    twin_created: tuple[int, int] | None = None


# Warned from / deleted from: media 350 / 365, CFT_IDAM 118 / 132, CRIME_IDAM 180 / 208, SSO never / 90 days.
# Rules count whole days, so each range stays three days away from a boundary. A warning's age is never such that
# it would have gone out before it was due.
_USER_GROUPS = (
    # active
    _UserGroup(2_700, MEDIA, idle=(1, 345)),
    _UserGroup(100, MEDIA, idle=(1, 300), signs_in=False),
    _UserGroup(1_000, ("CFT_IDAM",), idle=(1, 114)),
    _UserGroup(800, ("CRIME_IDAM",), idle=(1, 176)),
    _UserGroup(12, ("SSO",), idle=(1, 80), role="SYSTEM_ADMIN"),
    _UserGroup(120, ("SSO",), idle=(1, 86), role="INTERNAL_ADMIN_CTSC"),
    _UserGroup(150, ("SSO",), idle=(1, 86), role="INTERNAL_ADMIN_LOCAL"),
    _UserGroup(5, ("PI_AAD",), idle=(2, 10), warned=(20, 30)),  # came back after the warning
    _UserGroup(10, ("PI_AAD",), idle=(1, 200), twin_created=(500, 700)),  # one person with an unused row
    # idle past the warning and not warned yet
    _UserGroup(11, MEDIA, idle=(353, 361)),
    _UserGroup(4, MEDIA, idle=(353, 361), signs_in=False),
    _UserGroup(2, ("PI_AAD",), idle=(353, 361), twin_created=(500, 700)),
    _UserGroup(8, ("CFT_IDAM",), idle=(121, 128)),
    _UserGroup(6, ("CRIME_IDAM",), idle=(183, 204)),
    # idle past the deletion and never warned
    _UserGroup(4, MEDIA, idle=(369, 420)),
    _UserGroup(3, ("CFT_IDAM",), idle=(136, 160)),
    _UserGroup(3, ("CRIME_IDAM",), idle=(212, 240)),
    # warned, not idle enough for the deletion
    _UserGroup(30, MEDIA, idle=(356, 361), warned=(3, 5)),
    _UserGroup(20, ("CFT_IDAM",), idle=(123, 128), warned=(2, 4)),
    _UserGroup(15, ("CRIME_IDAM",), idle=(185, 204), warned=(2, 4)),
    # idle past the deletion, warned too recently
    _UserGroup(30, MEDIA, idle=(370, 400), warned=(3, 11)),
    _UserGroup(15, ("CFT_IDAM",), idle=(136, 150), warned=(3, 10)),
    _UserGroup(15, ("CRIME_IDAM",), idle=(212, 230), warned=(5, 20)),
    # to be deleted
    _UserGroup(100, MEDIA, idle=(385, 700), warned=(18, 30)),
    _UserGroup(10, MEDIA, idle=(385, 700), warned=(18, 30), signs_in=False),
    _UserGroup(10, ("PI_AAD",), idle=(385, 480), warned=(18, 30), twin_created=(500, 700)),
    _UserGroup(80, ("CFT_IDAM",), idle=(140, 300), warned=(17, 21)),
    _UserGroup(50, ("CRIME_IDAM",), idle=(216, 400), warned=(31, 35)),
    _UserGroup(4, ("SSO",), idle=(94, 300), role="SYSTEM_ADMIN"),
    _UserGroup(18, ("SSO",), idle=(94, 300), role="INTERNAL_ADMIN_CTSC"),
    _UserGroup(18, ("SSO",), idle=(94, 300), role="INTERNAL_ADMIN_LOCAL"),
    # of a provenance that no rule names
    _UserGroup(8, ("LEGACY_X",), idle=(500, 900)),
)

_FIRST_NAMES = ("Amber", "Cobalt", "Indigo", "Ivory", "Jade", "Ochre", "Saffron", "Scarlet", "Sienna", "Teal", "Umber")
_SURNAMES = ("Anvil", "Bobbin", "Candle", "Drawer", "Easel", "Funnel", "Gasket", "Hammer", "Inkwell", "Kettle")
# A spreadsheet runs the first four as formulas; the next three have to survive quoting.
_APPLICANTS = (
    *('=HYPERLINK("https://example.com","Amber Anvil")', "+Cobalt Bobbin", "@Indigo Candle", "-Ivory Drawer"),
    *('Jade "Ink" Easel', "Funnel, Ochre", "Séréna Gâsket-Ŵyn", "Scarlet Hammer", "Sienna Inkwell", "Teal Kettle"),
)


@dataclass(frozen=True)
class User:
    """A row, and what the others need to know of it."""

    row: Row
    user_id: UUID
    provenance: str
    role: str
    last_active_on: date
    warned_at: datetime | None


def draw_users(as_of: datetime, scale: float) -> Iterator[User]:
    """Yield the users of every group."""
    today = as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    numbers = count(1)
    for group in _USER_GROUPS:
        for i, number in zip(range(scaled(group.size, scale)), numbers, strict=False):
            idle = spread(group.idle, i)
            active_at = today - timedelta(days=idle) + timedelta(hours=8 + number % 10, seconds=number % 3600)
            warned_days = None if group.warned is None else spread(group.warned, i)
            warned_at = (
                None if warned_days is None else today - timedelta(days=warned_days) + timedelta(hours=8, minutes=1)
            )
            # A warning older than the last activity was about the time before it.
            period_start = active_at if warned_days is None or warned_days <= idle else today - timedelta(days=400)
            provenance = group.provenances[i % len(group.provenances)]
            created_at = active_at - timedelta(days=200 + number % 700) if group.signs_in else active_at
            signed_in_at = active_at if group.signs_in else None
            yield _build_user(number, provenance, group.role, created_at, signed_in_at, period_start, warned_at)
            if group.twin_created is not None:
                twin_at = today - timedelta(days=spread(group.twin_created, i)) + timedelta(hours=9)
                yield _build_user(-number, "B2C_IDAM", group.role, twin_at, None, period_start, warned_at)


def _build_user(
    number: int,
    provenance: str,
    role: str,
    created_at: datetime,
    signed_in_at: datetime | None,
    period_start: datetime,
    warned_at: datetime | None,
) -> User:
    """Build one row; `number` and `-number` are twins, who share an address in different spellings."""
    first_name = _FIRST_NAMES[abs(number) % len(_FIRST_NAMES)]
    surname = f"{_SURNAMES[abs(number) % len(_SURNAMES)]} {abs(number)}"
    domain = "example.org" if provenance == "SSO" else "example.com"
    email = f"{first_name}.{surname.replace(' ', '.')}@{domain}"
    user_id = uuid_of(f"user-{number}")
    provenance_id = ("CRIME_IDAM:" if provenance == "CRIME_IDAM" else "") + str(uuid_of(f"identity-{number}"))
    row = (
        *(user_id, email if number < 0 else email.lower(), first_name, surname, provenance, provenance_id, role),
        *(created_at, signed_in_at),
    )
    return User(row, user_id, provenance, role, period_start.date(), warned_at)


def draw_notices(users: Iterable[User]) -> Iterator[Row]:
    """Yield the warning of each who was warned."""
    for user in users:
        if user.warned_at is not None:
            sent_at = user.warned_at.replace(tzinfo=UTC)
            kind = WARNING_KIND[user.provenance]
            reference = str(uuid_of(f"notice-{user.user_id}"))
            yield (
                *("inactive_verification", str(user.user_id), kind, user.last_active_on),
                *(sent_at, sent_at, "sent", reference),
            )


def draw_applications(as_of: datetime, scale: float) -> Iterator[Row]:
    """Yield the applications of twelve ended weeks and of the current one."""
    numbers = count(1)
    for week in range(ENDED_WEEKS + 1):
        start, end = _week_bounds(as_of, week)
        amount = scaled(5 + (week * 17 + 11) % 36, scale, least=3)
        for i, number in zip(range(amount), numbers, strict=False):
            application_id = uuid_of(f"application-{number}")
            extension = (None, ".pdf", ".jpg")[number % 3]
            yield (
                application_id,
                _APPLICANTS[number % len(_APPLICANTS)],
                f"applicant.{number}@example.com",
                f"Sample Gazette {number % 9}",
                ("PENDING", "APPROVED", "REJECTED")[i % 3],
                start + (end - start) * (i + 1) / (amount + 1),
                extension and f"{application_id}{extension}",
                extension and f"proof{extension}",
            )


def _week_bounds(as_of: datetime, weeks_ago: int) -> tuple[datetime, datetime]:
    """Return the part of a week that applications fall into: a day away from Mondays, where the week has a day."""
    today = as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    monday = today - timedelta(days=today.weekday(), weeks=weeks_ago)
    if weeks_ago == 0:
        return monday + min(timedelta(days=1), (as_of - monday) / 2), as_of
    return monday + timedelta(days=1), monday + timedelta(days=6)
