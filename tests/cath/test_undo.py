"""Undoing what the jobs deleted: subscriptions and no-match artefacts come back, with all that went along."""

import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cath import CATH
from cath_dagster.core.inspection.explain import explain
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.restore.preparation import Request
from cath_dagster.core.restore.restore import restore
from cath_dagster.core.run.spec import load_specs
from tests.support.cli import role_without_rights
from tests.support.interrupted import assert_no_session, child_running, hold_up, is_asleep
from tests.support.service import Service, outcome
from tests.support.subscriptions import TABLES, add_orphan, add_unmatched, archives
from tests.support.waiting import wait_until

SUBSCRIPTIONS, NO_MATCH = "subscriptions", "no_match_artefacts"
DAY = timedelta(days=1)
WINDOW = timedelta(days=30)


def undo(service: Service, run_id: str, *, now: datetime | None = None, **request: Any) -> RunResult:
    """Restore a run, a day after the reference time unless told otherwise."""
    restore_id = str(uuid.uuid4())
    engine = EnvironmentBackends("CATH", service.environ).engine(f"restore:{restore_id}")
    with Database(engine) as database:
        return restore(
            database,
            CATH,
            load_specs(CATH),
            Request(run_id=run_id, **request),
            restore_id=restore_id,
            now=now or service.as_of + DAY,
            report=service.reporter.progress,
        )


def everything(service: Service) -> dict[str, list[tuple[Any, ...]]]:
    return {table: service.rows(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES}


def file_of(service: Service, artefact_id: uuid.UUID) -> Path:
    return service.blob_root / f"artefact/{artefact_id}.json"


# Subscriptions


def test_brings_back_a_subscription_with_its_notifications(service: Service) -> None:
    add_orphan(service)
    before = everything(service)
    deleted = service.run(SUBSCRIPTIONS)
    assert service.count("subscription") + service.count("notification_audit_log") == 0

    result = undo(service, deleted.run_id)

    assert result.status is Status.SUCCESS
    assert everything(service) == before
    assert (outcome(result, "subscription").restored, outcome(result, "notification_audit_log").restored) == (1, 2)
    assert outcome(deleted, "subscription").details["undo_until"] == (service.as_of + WINDOW).isoformat()


def test_brings_back_list_type_subscriptions(service: Service) -> None:
    row_id = service.insert(
        "subscription_list_type", subscription_list_type_id=uuid.uuid4(), user_id=service.add_user(),
        list_type_ids=[7, 8], list_language=["ENGLISH", "WELSH"],
    )  # fmt: skip
    before = everything(service)
    deleted = service.run(SUBSCRIPTIONS)

    undo(service, deleted.run_id)

    assert everything(service) == before
    again = service.run(SUBSCRIPTIONS, as_of=service.as_of + 2 * DAY)
    assert service.count("subscription_list_type", f"subscription_list_type_id = '{row_id}'") == 1
    assert outcome(again, "subscription_list_type").kept == 1


def test_a_subscription_that_was_made_again_meanwhile_stays_as_it_is(service: Service) -> None:
    user_id = service.add_user()
    add_orphan(service, user_id=user_id)
    deleted = service.run(SUBSCRIPTIONS)
    again = service.add_subscription(user_id, search_type="LOCATION_ID", search_value="99")

    result = undo(service, deleted.run_id)

    # Its old notifications name a subscription that is no more.
    assert outcome(result, "subscription").skipped == 1
    assert outcome(result, "notification_audit_log").failed == 2
    assert service.rows("SELECT subscription_id FROM subscription") == [(again,)]


def test_brings_back_what_a_user_had_where_the_user_is_gone_for_nobody(service: Service) -> None:
    user_id = service.add_user()
    add_orphan(service, user_id=user_id)
    other = add_orphan(service)
    deleted = service.run(SUBSCRIPTIONS)
    service.connection.execute('DELETE FROM "user" WHERE user_id = %s', (user_id,))

    result = undo(service, deleted.run_id)

    assert result.status is Status.FAILED
    assert service.rows("SELECT subscription_id FROM subscription") == [(other,)]
    assert (outcome(result, "subscription").failed, outcome(result, "notification_audit_log").failed) == (1, 2)


def test_a_restored_subscription_is_left_alone_for_as_long_again_and_then_taken(service: Service) -> None:
    add_orphan(service)
    deleted = service.run(SUBSCRIPTIONS)
    restored_at = service.as_of + 10 * DAY
    undo(service, deleted.run_id, now=restored_at)

    spared = service.run(SUBSCRIPTIONS, as_of=restored_at + WINDOW - timedelta(seconds=1))
    assert (service.count("subscription"), outcome(spared, "subscription").kept) == (1, 1)
    assert any("left alone" in note for note in spared.notes)

    taken = service.run(SUBSCRIPTIONS, as_of=restored_at + WINDOW)
    assert (service.count("subscription"), outcome(taken, "subscription").deleted) == (0, 1)
    assert service.count("maintenance.restored_row") == 0


def test_a_dry_run_leaves_alone_what_a_run_does(service: Service) -> None:
    add_orphan(service)
    undo(service, service.run(SUBSCRIPTIONS).run_id)

    preview = service.run(SUBSCRIPTIONS, as_of=service.as_of + 2 * DAY, dry_run=True)

    assert outcome(preview, "subscription").matched == 0


def test_no_other_job_takes_a_restored_row_or_what_it_belongs_to(service: Service) -> None:
    user_id = service.add_user("SSO", role="INTERNAL_ADMIN_CTSC", last_signed_in_date=service.days_ago(89))
    subscription_id = add_orphan(service, user_id=user_id)
    service.connection.execute("UPDATE notification_audit_log SET created_at = %s", (service.days_ago(80),))
    undo(service, service.run(SUBSCRIPTIONS).run_id)
    later = service.as_of + 20 * DAY

    idle = service.run("inactive_verification", as_of=later)
    audit = service.run("clear_audit", as_of=later)

    assert service.rows("SELECT subscription_id FROM subscription") == [(subscription_id,)]
    assert service.count("notification_audit_log") == 2
    assert service.count('"user"') == 1
    assert (outcome(idle, "user").deleted, outcome(audit, "notification_audit_log").kept) == (0, 2)
    assert outcome(service.run("inactive_verification", as_of=later + WINDOW), "user").deleted == 1


def test_explain_tells_when_a_restored_row_falls_under_its_rule_again(service: Service) -> None:
    subscription_id = add_orphan(service)
    now = service.as_of + DAY
    undo(service, service.run(SUBSCRIPTIONS).run_id, now=now)
    with Database(EnvironmentBackends("CATH", service.environ).engine("explain")) as database:
        told = explain(
            database, load_specs(CATH), "subscription", str(subscription_id), now=now, environ=service.environ
        )

    forecast = next(each for each in told.forecasts if each.job == SUBSCRIPTIONS)
    assert not forecast.matches_now
    assert forecast.at == now + WINDOW


def test_keeps_nothing_where_the_policy_says_so(service: Service) -> None:
    add_orphan(service)

    deleted = service.run(SUBSCRIPTIONS, undo_days=0)

    assert archives(service) == 0
    assert "undo_until" not in outcome(deleted, "subscription").details
    assert service.count("subscription") == 0


def test_refuses_to_archive_personal_data_without_a_reason_and_deletes_nothing(service: Service) -> None:
    add_orphan(service)

    preview = service.run(SUBSCRIPTIONS, archive_personal_data_because="", dry_run=True)
    result = service.run(SUBSCRIPTIONS, archive_personal_data_because="")

    assert result.status is Status.REFUSED
    for told in (result.error, preview.would_refuse):
        assert "subscription (user_id, search_value, case_name, case_number)" in (told or "")
        assert "archive_personal_data_because" in (told or "")
    assert (service.count("subscription"), archives(service)) == (1, 0)


def test_a_job_that_keeps_nothing_by_default_keeps_on_request_with_a_reason(service: Service) -> None:
    user_id = service.add_user("SSO", role="INTERNAL_ADMIN_CTSC", last_signed_in_date=service.days_ago(200))
    service.add_notification(service.add_subscription(user_id))
    before = service.rows('SELECT * FROM "user"'), everything(service)
    refused = service.run("inactive_verification", undo_days=7)
    assert (refused.status, service.count('"user"')) == (Status.REFUSED, 1)
    assert "user (user_id, email" in (refused.error or "")

    deleted = service.run("inactive_verification", undo_days=7, archive_personal_data_because="a trial of the rule")
    assert service.count('"user"') == 0
    undo(service, deleted.run_id)

    assert (service.rows('SELECT * FROM "user"'), everything(service)) == before


def test_notes_that_a_run_measured_from_long_ago_leaves_nothing_to_restore(service: Service) -> None:
    add_orphan(service)

    result = service.run(SUBSCRIPTIONS)

    # The suite's clock is ten years ahead.
    assert any("cannot be restored" in note for note in result.notes)
    assert not any("cannot be restored" in note for note in service.run(SUBSCRIPTIONS, undo_days=0).notes)


def test_refuses_to_undo_where_the_database_would_take_rows_unseen(service: Service) -> None:
    add_orphan(service)
    service.connection.execute(
        "CREATE TABLE reminder (id int PRIMARY KEY, subscription_id uuid REFERENCES subscription ON DELETE CASCADE)"
    )

    result = service.run(SUBSCRIPTIONS)

    assert (result.status, service.count("subscription")) == (Status.REFUSED, 1)
    assert "reminder" in (result.error or "")


def test_deletes_its_archives_when_their_window_ends_and_a_dry_run_only_says_so(service: Service) -> None:
    add_orphan(service)
    deleted = service.run(SUBSCRIPTIONS)
    ended = service.as_of + WINDOW

    assert service.run("clear_audit", as_of=ended).status is Status.SUCCESS
    assert service.run(SUBSCRIPTIONS, as_of=ended - timedelta(seconds=1)).status is Status.SUCCESS
    preview = service.run(SUBSCRIPTIONS, as_of=ended, dry_run=True)
    assert (outcome(preview, "archives").matched, archives(service) > 0) == (3, True)
    result = service.run(SUBSCRIPTIONS, as_of=ended, undo_days=0)

    assert (outcome(result, "archives").deleted, archives(service)) == (3, 0)
    with pytest.raises(Exception, match="could be undone until"):
        undo(service, deleted.run_id, now=ended)


@pytest.mark.stack
def test_a_run_killed_between_archive_and_delete_leaves_neither(service: Service) -> None:
    add_orphan(service)
    before = everything(service)
    hold_up(service, "subscription")

    with child_running(service, SUBSCRIPTIONS, "killed") as child:
        wait_until(lambda: is_asleep(service))
        child.kill()
        child.wait()
    assert_no_session(service, "killed")
    assert archives(service) == 0
    assert everything(service) == before
    service.connection.execute("DROP TRIGGER slow ON subscription")

    deleted = service.run(SUBSCRIPTIONS)
    undo(service, deleted.run_id)

    assert everything(service) == before


# No-match artefacts


def test_brings_back_an_artefact_with_its_search_rows_its_reference_and_its_files(service: Service) -> None:
    artefact_id = add_unmatched(service)
    before = everything(service)
    deleted = service.run(NO_MATCH)
    assert service.count("artefact") + service.count("artefact_search") == 0
    assert service.count("ingestion_log", "artefact_id IS NULL") == 1

    result = undo(service, deleted.run_id)

    assert result.status is Status.SUCCESS
    assert everything(service) == before
    assert outcome(result, "ingestion_log").updated == 1
    assert service.count("maintenance.file_outbox") == 0
    later = service.run(NO_MATCH, as_of=service.as_of + WINDOW)
    assert later.status is Status.SUCCESS
    assert file_of(service, artefact_id).read_bytes() == b"the list"


def test_a_reference_that_was_set_anew_meanwhile_stays(service: Service) -> None:
    add_unmatched(service)
    other = service.add_artefact()
    deleted = service.run(NO_MATCH)
    service.connection.execute("UPDATE ingestion_log SET artefact_id = %s", (other,))

    result = undo(service, deleted.run_id)

    assert service.rows("SELECT artefact_id FROM ingestion_log") == [(other,)]
    assert outcome(result, "ingestion_log").updated == 0


def test_holds_files_until_the_window_ends_and_then_deletes_them(service: Service) -> None:
    artefact_id = add_unmatched(service)
    deleted = service.run(NO_MATCH)
    assert (outcome(deleted, "files").deleted, outcome(deleted, "files").details) == (0, {"held": 6})

    service.run(NO_MATCH, as_of=service.as_of + WINDOW - timedelta(seconds=1))
    assert file_of(service, artefact_id).exists()
    ended = service.run(NO_MATCH, as_of=service.as_of + WINDOW)

    assert not file_of(service, artefact_id).exists()
    assert (outcome(ended, "files").deleted, outcome(ended, "files").skipped) == (1, 5)
    assert service.count("maintenance.file_outbox") + archives(service) == 0


def test_a_dry_run_counts_the_files_that_are_due_and_those_that_are_held(service: Service) -> None:
    add_unmatched(service)
    preview = service.run(NO_MATCH, dry_run=True)
    result = service.run(NO_MATCH)
    ended = service.as_of + WINDOW
    last_preview = service.run(NO_MATCH, as_of=ended, dry_run=True)
    last = service.run(NO_MATCH, as_of=ended)

    for dry, wet in ((preview, result), (last_preview, last)):
        assert {done.target: done.matched for done in dry.outcomes} == {
            done.target: done.matched for done in wet.outcomes
        }
        assert outcome(dry, "files").details == outcome(wet, "files").details
    assert outcome(last, "files").matched == 6


def test_a_file_whose_row_is_there_again_is_never_deleted(service: Service) -> None:
    artefact_id = add_unmatched(service)
    service.run(NO_MATCH)
    service.add_artefact(artefact_id=artefact_id)

    result = service.run(NO_MATCH, as_of=service.as_of + WINDOW)

    assert file_of(service, artefact_id).exists()
    assert (outcome(result, "files").kept, outcome(result, "files").deleted) == (6, 0)
    assert service.count("maintenance.file_outbox") == 0


def test_restoring_what_exists_takes_its_files_off_the_queue_too(service: Service) -> None:
    artefact_id = add_unmatched(service)
    deleted = service.run(NO_MATCH)
    service.add_artefact(artefact_id=artefact_id)

    result = undo(service, deleted.run_id, table="artefact")

    assert outcome(result, "artefact").skipped == 1
    assert service.count("maintenance.file_outbox") == 0


def test_a_restored_artefact_is_no_longer_among_the_archived_ones_until_it_goes_again(service: Service) -> None:
    one, other = add_unmatched(service), add_unmatched(service)
    deleted = service.run(NO_MATCH)
    kept = "SELECT artefact_id, archived_by FROM maintenance.artefact_archive ORDER BY archived_by = %s"
    assert len(service.rows(kept, "")) == 2

    undo(service, deleted.run_id, where=f"artefact_id = '{one}'")

    assert service.rows(kept, "") == [(other, deleted.run_id)]
    service.run("refresh_views")
    view = "SELECT artefact_id, is_archived FROM maintenance.sdp_mat_view_artefact ORDER BY 2"
    assert service.rows(view) == [(one, False), (other, True)]
    again = service.run(NO_MATCH, as_of=service.as_of + DAY + WINDOW)
    assert outcome(again, "artefact").archived == 1
    assert service.rows(kept, again.run_id) == [(other, deleted.run_id), (one, again.run_id)]


def test_a_restore_that_finds_the_artefact_there_removes_its_copy_too(service: Service) -> None:
    artefact_id = add_unmatched(service)
    deleted = service.run(NO_MATCH)
    service.add_artefact(artefact_id=artefact_id)

    undo(service, deleted.run_id, table="artefact")

    assert service.count("maintenance.artefact_archive") == 0


def test_a_role_that_may_not_remove_the_copy_restores_nothing(service: Service) -> None:
    add_unmatched(service)
    deleted = service.run(NO_MATCH)
    with role_without_rights(service) as (role, url):
        for grant in (
            "USAGE ON SCHEMA maintenance",
            "SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA maintenance",
            "SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public",
        ):
            service.connection.execute(sql.SQL(f"GRANT {grant} TO {{}}").format(role))
        service.environ["CATH_DATABASE_URL"] = url
        result = undo(service, deleted.run_id)

    assert result.status is Status.REFUSED
    assert 'GRANT DELETE ON maintenance."artefact_archive"' in (result.error or "")
    assert service.count("artefact") == 0


def test_restoring_one_artefact_leaves_the_others_files_queued(service: Service) -> None:
    one, other = add_unmatched(service), add_unmatched(service)
    deleted = service.run(NO_MATCH)

    undo(service, deleted.run_id, where=f"artefact_id = '{one}'")

    assert service.rows("SELECT artefact_id FROM artefact") == [(one,)]
    assert service.count("artefact_search") == 2
    queued = {path for (path,) in service.rows("SELECT path FROM maintenance.file_outbox")}
    assert len(queued) == 6
    assert all(str(other) in path for path in queued)


def test_a_restored_artefact_is_left_alone_also_by_the_job_on_expired_ones(service: Service) -> None:
    artefact_id = add_unmatched(service, display_to=service.days_ago(-3))
    deleted = service.run(NO_MATCH)
    undo(service, deleted.run_id)
    later = service.as_of + 10 * DAY

    spared = service.run("expired_artefacts", as_of=later)
    assert (service.count("artefact"), outcome(spared, "artefact").kept) == (1, 1)
    taken = service.run("expired_artefacts", as_of=later + WINDOW)

    assert outcome(taken, "artefact").deleted == 1
    assert not file_of(service, artefact_id).exists()


def test_an_artefact_deleted_again_after_its_restore_can_be_restored_again(service: Service) -> None:
    artefact_id = add_unmatched(service)
    undo(service, service.run(NO_MATCH).run_id)
    again = service.as_of + DAY + WINDOW
    second = service.run(NO_MATCH, as_of=again)
    assert outcome(second, "artefact").deleted == 1

    result = undo(service, second.run_id, now=again + DAY)

    assert outcome(result, "artefact").restored == 1
    assert service.count("maintenance.file_outbox") == 0
    assert file_of(service, artefact_id).exists()


def test_files_shared_by_two_rows_go_when_neither_can_come_back(service: Service) -> None:
    reason: dict[str, Any] = {"archive_personal_data_because": "a trial", "delete_reported": True}
    for number in range(2):
        service.add_application(proof_of_id_path="uploads/shared.pdf", applied_date=service.days_ago(5 + number))
    proof = service.add_file("files/shared.pdf")
    week = "2026-11-09"
    deleted = service.run("media_reporting", partition=week, undo_days=30, **reason)
    assert deleted.status is Status.SUCCESS
    (first, _) = [key for (key,) in service.rows("SELECT row_key FROM maintenance.file_outbox ORDER BY 1")]

    undo(service, deleted.run_id, where=f"id = '{first}'")
    service.run("media_reporting", partition=week, as_of=service.as_of + WINDOW, delete_reported=False)

    assert service.count("media_application") == 1
    assert proof.exists()


def test_a_role_that_may_not_insert_is_told_what_a_restore_needs(service: Service) -> None:
    add_orphan(service)
    deleted = service.run(SUBSCRIPTIONS)
    with role_without_rights(service) as (role, url):
        for grant in (
            "USAGE ON SCHEMA maintenance",
            "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA maintenance",
            "SELECT, DELETE ON subscription, notification_audit_log",
        ):
            service.connection.execute(sql.SQL(f"GRANT {grant} TO {{}}").format(role))
        service.environ["CATH_DATABASE_URL"] = url
        result = undo(service, deleted.run_id)

    assert result.status is Status.REFUSED
    assert 'GRANT INSERT ON public."subscription"' in (result.error or "")
    assert service.count("subscription") == 0
