"""Find asset checks that failed, and those that pass again."""

from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterEventType, EventLogRecord, EventRecordsFilter

from cath_dagster.operations.alerts import Alert, Kind
from cath_dagster.operations.watch.look import FIRST_LOOK, Look, Seen

AGAIN = 500
"""Events before the cursor that are read again: ids are given before their transactions commit, in any order."""
MOST = 1_000
"""Evaluations of one look; the next goes on."""


def watch_checks(look: Look) -> Seen:
    """Look at the checks that were evaluated since the last look."""
    storage = look.instance.event_log_storage
    # The first look goes by time, and leaves the rest of the history alone.
    after = int(look.cursor) if look.cursor else storage.get_maximum_record_id() or 0
    # By any event's id, of which evaluations are few.
    wanted = EventRecordsFilter(
        DagsterEventType.ASSET_CHECK_EVALUATION,
        after_cursor=max(0, after - AGAIN) if look.cursor else None,
        after_timestamp=None if look.cursor else (look.now - FIRST_LOOK).timestamp(),
    )
    records = storage.get_event_records(wanted, limit=MOST, ascending=True)
    failing = look.open_problems(Kind.CHECK_FAILED)
    alerts = []
    for record in records:
        alert = _alert_of_check(record, failing)
        if alert is not None:
            alerts.append(alert)
    return Seen(tuple(alerts), str(max([after, *(record.storage_id for record in records)])))


def _alert_of_check(record: EventLogRecord, failing: dict[str, datetime]) -> Alert | None:
    """Return an alert for a check that failed, or for one that passes again; keep count of which fail."""
    event = record.event_log_entry.dagster_event
    data = event.event_specific_data if event is not None else None
    if not isinstance(data, dg.AssetCheckEvaluation):
        return None
    subject = f"{'/'.join(data.asset_key.path)}:{data.check_name}"
    at = datetime.fromtimestamp(record.timestamp, UTC)
    path = f"/assets/{'/'.join(data.asset_key.path)}?view=checks"
    if not data.passed:
        failing[subject] = at
        return Alert(
            kind=Kind.CHECK_FAILED,
            subject=subject,
            occurrence=str(record.storage_id),
            title=f"the check {data.check_name} of {'/'.join(data.asset_key.path)} failed",
            says=(data.description or "It says no more than that.", f"Severity: {data.severity.value}."),
            at=at,
            path=path,
        )
    if subject in failing and at > failing[subject]:
        del failing[subject]
        return Alert(
            kind=Kind.CHECK_FAILED,
            subject=subject,
            occurrence=str(record.storage_id),
            title=f"the check {data.check_name} of {'/'.join(data.asset_key.path)} passes again",
            says=(f"It passed at {at:%Y-%m-%d %H:%M %Z}.",),
            at=at,
            path=path,
            is_over=True,
        )
    return None
