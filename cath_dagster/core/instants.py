"""Where aware instants and the naive UTC columns of the services meet."""

from datetime import UTC, date, datetime


def as_utc(instant: datetime) -> datetime:
    """Return the instant in UTC; a naive one is taken to be UTC. Raises `ValueError` for one that UTC's calendar does not have."""
    try:
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{instant.isoformat()} is outside of the calendar") from None


def naive_utc(instant: datetime) -> datetime:
    """Return the instant as a `timestamp without time zone` column written in UTC holds it."""
    return as_utc(instant).replace(tzinfo=None)


def midnight(day: date) -> datetime:
    """Return the first instant of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
