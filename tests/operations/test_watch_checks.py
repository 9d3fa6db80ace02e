"""A failed asset check is told with what it says, and that it passes again."""

from collections.abc import Sequence
from datetime import timedelta

from cath_dagster.core.postgres.database import Database
from cath_dagster.operations.alerts import Alert, AlertSettings
from cath_dagster.operations.store import AlertStore
from cath_dagster.operations.watch.checks import watch_checks
from cath_dagster.operations.watch.look import Look, Seen
from tests.operations.instance import NOW, Instance


def look(instance: Instance, database: Database, cursor: str | None = None) -> Seen:
    store = AlertStore(database)
    seen = watch_checks(Look(instance=instance.dagster, settings=AlertSettings(), store=store, now=NOW, cursor=cursor))
    store.record(seen.alerts)
    return seen


def told(seen: Seen) -> list[tuple[str, bool]]:
    return [(alert.subject, alert.is_over) for alert in seen.alerts]


def evaluate(
    instance: Instance, *, passed: bool, says: str | None = None, minutes: int = 0, subjects: Sequence[str] = ()
) -> None:
    run = instance.add_run("refresh_views", events=0)
    at = NOW + timedelta(minutes=minutes)
    instance.evaluate_check(
        run, "sdp_mat_view_location", "verified", passed=passed, says=says, at=at, subjects=subjects
    )


SUBJECT = "cath/sdp_mat_view_location:verified"


def test_a_failed_check_is_told_with_what_it_says(instance: Instance, database: Database) -> None:
    evaluate(instance, passed=False, says="3 weeks are missing")

    (alert,) = look(instance, database).alerts

    assert isinstance(alert, Alert)
    assert alert.fingerprint == f"check_failed:{SUBJECT}"
    assert alert.says[0] == "3 weeks are missing"
    assert (alert.path or "").startswith("/assets/cath/sdp_mat_view_location")


def test_a_check_that_passes_is_no_alert(instance: Instance, database: Database) -> None:
    evaluate(instance, passed=True)

    assert told(look(instance, database)) == []


def test_that_a_check_passes_again_is_told(instance: Instance, database: Database) -> None:
    evaluate(instance, passed=False)
    first = look(instance, database)
    evaluate(instance, passed=True, minutes=5)

    assert (SUBJECT, True) in told(look(instance, database, first.cursor))


def test_a_check_that_failed_and_passed_between_two_looks_is_told_as_both(
    instance: Instance, database: Database
) -> None:
    evaluate(instance, passed=False)
    evaluate(instance, passed=True, minutes=5)

    assert told(look(instance, database)) == [(SUBJECT, False), (SUBJECT, True)]


def test_what_is_read_again_is_not_recorded_again(instance: Instance, database: Database) -> None:
    evaluate(instance, passed=False)
    evaluate(instance, passed=True, minutes=5)
    first = look(instance, database)

    second = look(instance, database, first.cursor)

    assert AlertStore(database).record(second.alerts) == 0
    assert instance.count("maintenance.alert") == 2


def test_an_evaluation_that_was_committed_after_a_later_one_is_seen(instance: Instance, database: Database) -> None:
    evaluate(instance, passed=False)
    instance.connection.execute(
        "UPDATE event_logs SET id = id + 100 WHERE dagster_event_type = 'ASSET_CHECK_EVALUATION'"
    )
    evaluate(instance, passed=True, minutes=1)
    cursor = look(instance, database).cursor
    instance.connection.execute("DELETE FROM maintenance.alert")

    assert int(cursor) > instance.value("SELECT min(id) FROM event_logs")
    assert (SUBJECT, False) in told(look(instance, database, cursor))


def test_the_first_look_leaves_history_alone(instance: Instance, database: Database) -> None:
    evaluate(instance, passed=False, minutes=-120)

    first = look(instance, database)

    assert told(first) == []
    assert told(look(instance, database, str(int(first.cursor) + 1_000))) == []


def test_each_of_a_checks_subjects_is_told_once_and_its_end_too(instance: Instance, database: Database) -> None:
    evaluate(instance, passed=False, subjects=["neon"])
    first = look(instance, database)
    evaluate(instance, passed=False, minutes=5, subjects=["neon", "github"])
    evaluate(instance, passed=False, minutes=10, subjects=["neon", "github"])
    second = look(instance, database, first.cursor)
    evaluate(instance, passed=False, minutes=15, subjects=["github"])
    third = look(instance, database, second.cursor)
    evaluate(instance, passed=True, minutes=20)
    fourth = look(instance, database, third.cursor)

    query = "SELECT fingerprint, is_over FROM maintenance.alert ORDER BY alert_id"
    rows = instance.connection.execute(query).fetchall()
    neon, github = (f"check_failed:{SUBJECT}:{name}" for name in ("neon", "github"))
    assert rows == [(neon, False), (github, False), (neon, True), (github, True)]
    look(instance, database, fourth.cursor)
    assert instance.count("maintenance.alert") == 4


def test_a_subject_whose_beginning_is_read_no_more_is_not_told_again_after_its_end(
    instance: Instance, database: Database
) -> None:
    evaluate(instance, passed=False, subjects=["neon"])
    evaluate(instance, passed=False, minutes=5, subjects=["neon"])
    evaluate(instance, passed=True, minutes=10)
    cursor = look(instance, database).cursor
    instance.connection.execute(
        "DELETE FROM event_logs WHERE id = (SELECT min(id) FROM event_logs WHERE dagster_event_type = 'ASSET_CHECK_EVALUATION')"
    )

    look(instance, database, cursor)

    assert instance.count("maintenance.alert") == 2
