"""Tell operators what is recorded and not yet told: each message to each channel once, failures again later."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cath_dagster.core.postgres.database import Database
from cath_dagster.operations import OPERATIONS
from cath_dagster.operations.alerts import AlertSettings, Letter, write_letter
from cath_dagster.operations.bounds import SHORT_BODY
from cath_dagster.operations.channels import Channel
from cath_dagster.operations.store import AlertStore, Sealed

LOCK = f"{OPERATIONS.name}/deliver_alerts"
SECONDS = 30.0
"""Within a tick; Dagster gives up on one after 60, and the next goes on."""


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What one round did."""

    messages: int
    errors: tuple[str, ...]


def deliver(
    database: Database,
    settings: AlertSettings,
    channels: list[Channel],
    *,
    now: datetime,
    clock: Callable[[], float] = time.monotonic,
) -> Delivered:
    """Send what is due, and remember each channel's answer at once.

    Raises `LockHeldError` where another process is at it. A channel that fails is left alone for the rest of the round.
    """
    store = AlertStore(database)
    database.lock(LOCK)
    store.seal(now=now, interval=timedelta(minutes=settings.alert_interval_minutes))
    until = clock() + SECONDS
    broken: dict[str, str] = {}
    settled = 0
    for sealed in store.due(now=now):
        if clock() > until:
            break
        _send(store, sealed, settings, channels, broken, now)
        errors = [broken[channel.name] for channel in channels if channel.name in broken]
        if _is_missing(sealed, channels, broken):
            store.failed(sealed.message_id, "; ".join(errors), now=now)
        else:
            store.settle(sealed.message_id, now=now)
            settled += 1
    return Delivered(messages=settled, errors=tuple(broken.values()))


def _send(
    store: AlertStore,
    sealed: Sealed,
    settings: AlertSettings,
    channels: list[Channel],
    broken: dict[str, str],
    now: datetime,
) -> None:
    for channel in channels:
        if channel.name in sealed.delivered or channel.name in broken:
            continue
        refusal = channel.send(_write(sealed, settings, channel, channel.room))
        if refusal is not None and refusal.is_of_content:
            # Whatever the channel has against it: that there is something to look at, and where, it may take.
            refusal = channel.send(_write(sealed, settings, channel, min(SHORT_BODY, channel.room)))
        if refusal is None:
            store.delivered(sealed.message_id, channel.name, now=now)
        else:
            broken[channel.name] = refusal.says


def _write(sealed: Sealed, settings: AlertSettings, channel: Channel, room: int) -> Letter:
    return write_letter(
        settings,
        kind=sealed.kind,
        title=sealed.title,
        says=sealed.says,
        path=sealed.path,
        is_over=sealed.is_over,
        others=sealed.others,
        room=room,
        title_room=channel.title_room,
    )


def _is_missing(sealed: Sealed, channels: list[Channel], broken: dict[str, str]) -> bool:
    return any(channel.name in broken and channel.name not in sealed.delivered for channel in channels)
