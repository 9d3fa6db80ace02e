"""Days that hold for one tenant in place of the setting for all: a JSON object of days by the tenant's id."""

import json
from collections.abc import Mapping
from uuid import UUID


def read_tenant_days(text: str, *, least: int, most: int) -> Mapping[UUID, int]:
    """Return the days by tenant; raise `ValueError` for what is no such object, or has days out of the range."""
    if not text.strip():
        return {}
    given = _object(text)
    if given is None:
        raise ValueError('write a JSON object of days by tenant, like {"123e4567-e89b-42d3-a456-426614174000": 365}')
    return {_tenant(name): _days(name, value, least, most) for name, value in given.items()}


def _object(text: str) -> dict[str, object] | None:
    try:
        given = json.loads(text)
    except ValueError:
        return None
    return given if isinstance(given, dict) else None


def _tenant(name: str) -> UUID:
    try:
        return UUID(name)
    except ValueError:
        raise ValueError(f"{name} is no tenant's id; write one like 123e4567-e89b-42d3-a456-426614174000") from None


def _days(name: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"of {name} it says {value!r}; a whole number of days from {least} to {most:,} is needed")
    return value
