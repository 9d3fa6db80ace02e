"""Find asset checks that failed, and those that pass again."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterEventType, EventLogRecord, EventRecordsFilter

from cath_dagster.core.model.check import SUBJECTS
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
    known = _Known(look.open_problems(Kind.CHECK_FAILED), look.store.ended_problems(Kind.CHECK_FAILED))
    alerts = [alert for record in records for alert in _alerts_of(record, known)]
    return Seen(tuple(alerts), str(max([after, *(record.storage_id for record in records)])))


@dataclass(frozen=True)
class _Known:
    """By subject, since when it fails, and when it passed again last; kept up with the evaluations as they are read."""

    failing: dict[str, datetime]
    ended: dict[str, datetime]

    def is_old(self, subject: str, at: datetime) -> bool:
        """Return whether what failed then is told of, or over by now: evaluations are read twice."""
        return subject in self.failing or at <= self.ended.get(subject, at - timedelta(1))


def _alerts_of(record: EventLogRecord, known: _Known) -> Iterator[Alert]:
    """Yield an alert for a check that failed, for one that passes again, and for each of its subjects by itself."""
    event = record.event_log_entry.dagster_event
    data = event.event_specific_data if event is not None else None
    if not isinstance(data, dg.AssetCheckEvaluation):
        return
    check, at = f"{'/'.join(data.asset_key.path)}:{data.check_name}", datetime.fromtimestamp(record.timestamp, UTC)
    subjects = {f"{check}:{each}": each for each in _subjects(data)} if not data.passed else {}
    for subject, name in subjects.items():
        if not known.is_old(subject, at):
            known.failing[subject] = at
            yield _alert(record, data, subject, at, name, is_over=False)
    if not data.passed and not subjects:
        known.failing[check] = at
        yield _alert(record, data, check, at, "", is_over=False)
    for subject, since in list(known.failing.items()):
        is_of_this = subject == check or subject.startswith(f"{check}:")
        if is_of_this and subject not in subjects and at > since:
            known.ended[subject] = at
            del known.failing[subject]
            name = subject.removeprefix(check).removeprefix(":")
            yield _alert(record, data, subject, at, name, is_over=True)


def _subjects(data: dg.AssetCheckEvaluation) -> list[str]:
    value = data.metadata.get(SUBJECTS)
    found = value.value if isinstance(value, dg.JsonMetadataValue) else None
    return [str(each) for each in found] if isinstance(found, list) else []


def _alert(
    record: EventLogRecord, data: dg.AssetCheckEvaluation, subject: str, at: datetime, name: str, *, is_over: bool
) -> Alert:
    """Return what is told of a check, of one of its subjects where there is a `name`."""
    asset, ending = "/".join(data.asset_key.path), "passes again" if is_over else "failed"
    failed = (data.description or "It says no more than that.", f"Severity: {data.severity.value}.")
    return Alert(
        kind=Kind.CHECK_FAILED,
        subject=subject,
        occurrence=str(record.storage_id),
        title=f"the check {data.check_name} of {asset} {ending}{f' for {name}' if name else ''}",
        says=(f"It passed at {at:%Y-%m-%d %H:%M %Z}.",) if is_over else failed,
        at=at,
        path=f"/assets/{asset}?view=checks",
        is_over=is_over,
    )
