"""The weekly report on media applications, and the purge of what was reported."""

import contextlib
import dataclasses
import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cath_dagster.core.model.outcome import COUNTS, RunResult, Status
from cath_dagster.core.purge import blast_radius
from cath_dagster.development.simulators.notify import NotifySimulator, SentMail
from tests.support.media_reports import FOLDER, JOB, WEEK, stored
from tests.support.service import Service, outcome
from tests.support.waiting import wait_until

HEADER = b'"Full name","Email","Employer","Request date","Status"\n'


class HeldNotify(NotifySimulator):
    """Takes no mail before it is released, and says when the first one is at its door."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.release = threading.Event()

    def take(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self.reached.set()
        self.release.wait(60)
        return super().take(body)


@contextlib.contextmanager
def held_run(service: Service, **options: Any) -> Iterator[Future[RunResult]]:
    """Keep another run at work, as long as this lasts, in the midst of its mail."""
    with HeldNotify() as held, ThreadPoolExecutor(1) as pool:
        environ = {**service.environ, "CATH_NOTIFY_API_KEY": held.api_key, "CATH_NOTIFY_BASE_URL": held.base_url}
        other = dataclasses.replace(service, environ=environ, notify=held)
        run = pool.submit(other.run, JOB, **options)
        try:
            assert held.reached.wait(30)
            yield run
        finally:
            held.release.set()


def stored_report(service: Service, kind: str = "csv") -> bytes:
    """Return the one stored file of a kind."""
    (content,) = [content for path, content in stored(service).items() if path.endswith(f".{kind}")]
    return content


def reported_emails(service: Service) -> list[str]:
    """Return the addresses in the one stored report, in its order."""
    return [line.split('","')[1] for line in stored_report(service).decode().splitlines()[1:]]


def only_mail(service: Service) -> SentMail:
    (mail,) = service.notify.sent
    return mail


def applications(service: Service) -> set[uuid.UUID]:
    return {row[0] for row in service.rows("SELECT id FROM media_application")}


def matched(result: RunResult) -> dict[str, int]:
    return {done.target: done.matched for done in result.outcomes}


def add_old_report(service: Service, monday: date) -> list[Path]:
    """Put a report of a week long ago into the store."""
    folder = service.report_root / FOLDER / monday.isoformat()
    folder.mkdir(parents=True)
    files = [folder / f"earlier.{kind}" for kind in ("csv", "png", "json")]
    for file in files:
        file.write_bytes(b"{}")
    return files


def add_many(service: Service, count: int, text: str = "x") -> None:
    """Add that many approved applications to the week."""
    service.connection.execute(
        "INSERT INTO media_application (id, name, email, employer, status, applied_date) "
        "SELECT gen_random_uuid(), %(text)s::text, %(text)s::text || n, %(text)s::text, 'APPROVED', %(applied)s "
        "FROM generate_series(1, %(count)s) AS n",
        {"text": text, "applied": service.days_ago(7), "count": count},
    )


def wait_until_blocked(service: Service, holder: psycopg.Connection[Any]) -> None:
    """Return once another session waits for a lock that `holder` has."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    wait_until(lambda: service.value(query, holder.info.backend_pid), "nobody waits")


# The week


@pytest.mark.parametrize(
    ("as_of", "monday"),
    [
        pytest.param(datetime(2026, 11, 16, tzinfo=UTC), "2026-11-09", id="Monday midnight"),
        pytest.param(datetime(2026, 11, 15, 23, 59, 59, tzinfo=UTC), "2026-11-02", id="Sunday"),
        pytest.param(datetime(2026, 11, 18, 1, tzinfo=UTC), "2026-11-09", id="Wednesday"),
        pytest.param(datetime(2026, 1, 5, tzinfo=UTC), "2025-12-29", id="over new year"),
    ],
)
def test_reports_the_last_week_ended_before_as_of(service: Service, as_of: datetime, monday: str) -> None:
    result = service.run(JOB, as_of=as_of)

    assert result.status is Status.SUCCESS
    assert {path.split("/")[1] for path in stored(service)} == {monday}


def test_reports_the_week_of_the_partition(service: Service) -> None:
    service.add_application(email="in@example.com", applied_date=datetime(2026, 10, 21, 12))
    service.add_application(email="later@example.com")

    result = service.run(JOB, partition="2026-10-19")

    assert result.status is Status.SUCCESS
    assert {path.split("/")[1] for path in stored(service)} == {"2026-10-19"}
    assert reported_emails(service) == ["in@example.com"]


def test_reports_a_partition_whose_week_ends_at_as_of(service: Service) -> None:
    result = service.run(JOB, partition=WEEK, as_of=datetime(2026, 11, 16, tzinfo=UTC))

    assert result.status is Status.SUCCESS


def test_refuses_a_week_that_has_not_ended(service: Service) -> None:
    service.add_application(applied_date=datetime(2026, 11, 17))

    result = service.run(JOB, partition="2026-11-16")

    assert result.status is not Status.SUCCESS
    assert "2026-11-16" in str(result.error)
    assert stored(service) == {}
    assert service.notify.sent == []


def test_refuses_a_partition_that_is_no_monday(service: Service) -> None:
    result = service.run(JOB, partition="2026-11-10")

    assert result.status is not Status.SUCCESS
    assert stored(service) == {}


def test_takes_the_first_and_the_last_instant_of_the_week(service: Service) -> None:
    service.add_application(email="first@example.com", applied_date=datetime(2026, 11, 9))
    service.add_application(email="last@example.com", applied_date=datetime(2026, 11, 15, 23, 59, 59, 999_000))

    service.run(JOB)

    assert reported_emails(service) == ["first@example.com", "last@example.com"]


def test_leaves_out_the_instants_next_to_the_week(service: Service) -> None:
    service.add_application(applied_date=datetime(2026, 11, 8, 23, 59, 59, 999_000))
    service.add_application(applied_date=datetime(2026, 11, 16))

    service.run(JOB)

    assert reported_emails(service) == []


# What is written


def test_writes_the_csv_byte_for_byte(service: Service) -> None:
    service.add_application(
        name='Siân "Scoop" O\u2019Brien, Jr',
        email="sian@example.com",
        employer="Papur Dŵr",
        status="PENDING",
        applied_date=datetime(2026, 11, 9, 7, 5, 3, 999_000),
    )
    service.add_application(
        name="Bob", email="bob@example.com", employer="A\nB", status="REJECTED", applied_date=datetime(2026, 11, 15, 18)
    )

    service.run(JOB)

    assert (
        stored_report(service)
        == HEADER
        + (
            '"Siân ""Scoop"" O\u2019Brien, Jr","sian@example.com","Papur Dŵr","09-11-2026 07:05:03","PENDING"\n'
            '"Bob","bob@example.com","A\nB","15-11-2026 18:00:00","REJECTED"\n'
        ).encode()
    )


def test_writes_the_header_of_an_empty_week(service: Service) -> None:
    service.run(JOB)

    assert stored_report(service) == HEADER


def test_defuses_what_a_spreadsheet_takes_for_a_formula(service: Service) -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n-1", "\tplain", "\rplain", "  =1", "\u00a0+1"]
    for text in formulas:
        service.add_application(name=text, email=text, employer=text, status="PENDING")
    service.add_application(name="=1", email="=1", employer="=1", status="=1")

    service.run(JOB)

    text = stored_report(service).decode()
    assert [text.count(f'"\'{formula}",') for formula in formulas] == [3] * len(formulas)
    assert text.count('"\'=1"') == 4


def test_defuses_a_leading_control_character(service: Service) -> None:
    texts = [f"{character}=1" for character in "\x01\x1f\x7f\x80\x9f"]
    for text in texts:
        service.add_application(name=text)

    service.run(JOB)

    assert [text for text in texts if f'"\'{text}"'.encode() not in stored_report(service)] == []


def test_leaves_a_harmless_text_as_it_is(service: Service) -> None:
    service.add_application(name=" Anne-Marie = @home + 1", employer="'quoted'")

    service.run(JOB)

    assert b'" Anne-Marie = @home + 1",' in stored_report(service)
    assert b"\"'quoted'\"" in stored_report(service)


def test_draws_the_chart_as_a_png(service: Service) -> None:
    service.add_application()

    service.run(JOB)

    png = stored_report(service, "png")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xaeB`\x82")


def test_counts_by_status_and_day(service: Service) -> None:
    service.add_application(status="APPROVED", applied_date=datetime(2026, 11, 9))
    service.add_application(status="APPROVED", applied_date=datetime(2026, 11, 9, 23, 59, 59))
    service.add_application(status="PENDING", applied_date=datetime(2026, 11, 10))
    service.add_application(status="REJECTED", applied_date=datetime(2026, 11, 15))

    service.run(JOB)

    counts = json.loads(stored_report(service, "json"))
    assert counts["by_status"] == {"PENDING": 1, "APPROVED": 2, "REJECTED": 1}
    assert list(counts["by_day"]) == [f"2026-11-{day:02}" for day in range(9, 16)]
    assert counts["by_day"]["2026-11-09"] == {"PENDING": 0, "APPROVED": 2, "REJECTED": 0}
    assert counts["by_day"]["2026-11-10"] == {"PENDING": 1, "APPROVED": 0, "REJECTED": 0}
    assert counts["by_day"]["2026-11-12"] == {"PENDING": 0, "APPROVED": 0, "REJECTED": 0}
    assert counts["by_day"]["2026-11-15"] == {"PENDING": 0, "APPROVED": 0, "REJECTED": 1}


def test_counts_a_status_of_another_name(service: Service) -> None:
    service.add_application(status="ON_HOLD")

    service.run(JOB)

    assert json.loads(stored_report(service, "json"))["by_status"]["ON_HOLD"] == 1


def test_keeps_personal_data_out_of_counts_logs_and_records(service: Service) -> None:
    service.add_application(
        name="Marker-Name",
        email="marker@example.com",
        employer="Marker-Employer",
        proof_of_id_path="marker.pdf",
        proof_of_id_original_name="Marker-Passport.pdf",
    )

    result = service.run(JOB)

    ours = service.rows(
        "SELECT e::text FROM maintenance.ledger_event e UNION ALL SELECT n::text FROM maintenance.sent_notice n"
    )
    said = [stored_report(service, "json").decode(), json.dumps(result.as_json()), *service.reporter.lines, str(ours)]
    assert "marker" not in "\n".join(said).lower()


def test_files_lie_under_the_monday_and_bear_the_run_id(service: Service) -> None:
    service.run(JOB, run_id="run-1")

    assert set(stored(service)) == {f"{FOLDER}/{WEEK}/run-1.{kind}" for kind in ("csv", "png", "json")}


def test_a_second_run_writes_and_sends_nothing(service: Service) -> None:
    service.add_application()
    service.run(JOB)
    before = stored(service)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert sum(done.changed for done in result.outcomes) == 0
    assert stored(service) == before
    assert len(service.notify.sent) == 1


def test_writes_changed_data_beside_the_earlier_report(service: Service) -> None:
    application = service.add_application(status="PENDING")
    service.run(JOB, run_id="run-1")
    before = stored(service)
    service.connection.execute("UPDATE media_application SET status = 'APPROVED' WHERE id = %s", [application])

    service.run(JOB, run_id="run-2")

    after = stored(service)
    assert {path: after[path] for path in before} == before
    assert b'"APPROVED"\n' in after[f"{FOLDER}/{WEEK}/run-2.csv"]
    assert len(after) == 6


def test_sends_no_second_mail_for_changed_data(service: Service) -> None:
    service.add_application()
    service.run(JOB)
    service.add_application()

    service.run(JOB)

    assert len(service.notify.sent) == 1


def test_writes_a_whole_report_beside_what_a_killed_run_left(service: Service) -> None:
    service.add_application()
    left = service.report_root / FOLDER / WEEK / "killed.csv"
    left.parent.mkdir(parents=True)
    left.write_bytes(HEADER)

    result = service.run(JOB, run_id="run-2")

    assert result.status is Status.SUCCESS
    assert {f"{FOLDER}/{WEEK}/run-2.{kind}" for kind in ("csv", "png", "json")} < set(stored(service))
    assert left.read_bytes() == HEADER


def test_writes_an_empty_week_and_sends_no_mail(service: Service) -> None:
    service.add_application(applied_date=service.days_ago(30))

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert len(stored(service)) == 3
    assert service.notify.sent == []


def test_leaves_the_applications_alone_by_default(service: Service) -> None:
    for status in ("PENDING", "APPROVED", "REJECTED"):
        service.add_application(status=status)

    result = service.run(JOB)

    assert outcome(result, "media_application").deleted == 0
    assert service.count("media_application") == 3


# The mail


def test_sends_the_csv_behind_the_link(service: Service) -> None:
    service.add_application(name="Zoë")

    result = service.run(JOB)

    file = only_mail(service).file
    assert file is not None
    assert file.content == stored_report(service)
    assert (file.retention_period, file.confirm_email_before_download) == ("78 weeks", False)
    assert outcome(result, "mail").notified == 1


def test_sends_the_keys_of_the_template_to_the_team(service: Service) -> None:
    service.add_application()

    service.run(JOB)

    mail = only_mail(service)
    assert mail.email_address == "team@example.org"
    assert mail.template_id == service.environ["CATH_NOTIFY_TEMPLATE_MEDIA_REPORT"]
    assert set(mail.personalisation) == {"link_to_file", "env_name"}


@pytest.mark.parametrize(("environment", "name"), [("stg", "Staging"), ("prod", "Production"), ("preview", "preview")])
def test_names_the_environment_as_the_team_knows_it(service: Service, environment: str, name: str) -> None:
    service.environ["CATH_ENV_NAME"] = environment
    service.add_application()

    service.run(JOB)

    assert only_mail(service).personalisation["env_name"] == name


def test_says_where_a_report_lies_that_is_too_large_to_be_sent(service: Service) -> None:
    add_many(service, 3_000, "x" * 240)

    result = service.run(JOB, run_id="run-1")

    mail = only_mail(service)
    assert result.status is Status.SUCCESS
    assert len(stored_report(service)) > 2 * 1024 * 1024
    assert mail.file is None
    assert f"{FOLDER}/{WEEK}/run-1.csv" in str(mail.personalisation)


def test_without_a_key_the_report_is_written_and_counted_as_undelivered(service: Service) -> None:
    del service.environ["CATH_NOTIFY_API_KEY"]
    service.add_application()

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert outcome(result, "mail").undelivered == 1
    assert len(stored(service)) == 3


def test_sends_what_could_not_be_sent_before_and_writes_it_only_once(service: Service) -> None:
    key = service.environ.pop("CATH_NOTIFY_API_KEY")
    service.add_application()
    service.run(JOB)
    before = stored(service)
    service.environ["CATH_NOTIFY_API_KEY"] = key

    service.run(JOB)

    file = only_mail(service).file
    assert stored(service) == before
    assert file is not None
    assert file.content == stored_report(service)


def test_fails_where_notify_refuses_the_key_and_the_next_run_sends(service: Service) -> None:
    service.add_application()
    service.notify.fail_next(403, "AuthError", "Invalid token")

    refused = service.run(JOB)
    finished = service.run(JOB)

    assert (refused.status, outcome(refused, "mail").failed) == (Status.FAILED, 1)
    assert (finished.status, outcome(finished, "mail").notified) == (Status.SUCCESS, 1)
    assert len(stored(service)) == 3


def test_fails_where_notify_rejects_the_address_of_the_team(service: Service) -> None:
    service.add_application()
    service.notify.reject("team@example.org")

    result = service.run(JOB)

    assert result.status is Status.FAILED


def test_sends_the_report_once_the_address_of_the_team_is_corrected(service: Service) -> None:
    service.add_application()
    service.notify.reject("team@example.org")
    service.run(JOB)
    service.environ["CATH_TEAM_EMAIL"] = "corrected@example.org"

    service.run(JOB)

    assert [mail.email_address for mail in service.notify.sent] == ["corrected@example.org"]


def test_asks_notify_about_a_mail_that_a_killed_run_left_unknown(service: Service) -> None:
    service.add_application()
    service.run(JOB)
    service.connection.execute("UPDATE maintenance.sent_notice SET status = 'claimed', sent_at = NULL")

    result = service.run(JOB, delete_reported=True)

    assert result.status is Status.SUCCESS
    assert len(service.notify.sent) == 1
    assert service.count("media_application") == 0


def test_deletes_nothing_that_the_team_was_told_otherwise_by_a_run_that_was_killed(service: Service) -> None:
    application = service.add_application(status="PENDING")
    service.run(JOB)
    service.connection.execute("UPDATE maintenance.sent_notice SET status = 'claimed', sent_at = NULL")
    service.connection.execute("UPDATE media_application SET status = 'APPROVED'")

    service.run(JOB, delete_reported=True)
    service.run(JOB, delete_reported=True)

    assert applications(service) == {application}
    assert len(service.notify.sent) == 1


def test_knows_which_report_went_out_after_one_that_never_did(service: Service) -> None:
    service.add_application(status="PENDING")
    service.notify.fail_next(403, "AuthError", "Invalid token")
    service.run(JOB)
    service.connection.execute("UPDATE maintenance.sent_notice SET status = 'claimed', sent_at = NULL")
    service.connection.execute("UPDATE media_application SET status = 'APPROVED'")

    service.run(JOB, delete_reported=True)

    recorded = service.value("SELECT reference FROM maintenance.sent_notice")
    assert [mail.reference for mail in service.notify.sent] == [recorded]
    assert service.count("media_application") == 0


# Old reports


def test_deletes_a_report_older_than_its_retention_and_keeps_a_younger(service: Service) -> None:
    expired = add_old_report(service, date(2026, 11, 16) - timedelta(weeks=80))
    young = add_old_report(service, date(2026, 11, 16) - timedelta(weeks=77))

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert [file.exists() for file in expired] == [False] * 3
    assert [file.exists() for file in young] == [True] * 3
    assert outcome(result, "files").deleted == 3


def test_keeps_a_report_exactly_seventy_eight_weeks_old(service: Service) -> None:
    files = add_old_report(service, date(2026, 11, 16) - timedelta(weeks=78))

    service.run(JOB, as_of=datetime(2026, 11, 16, tzinfo=UTC))

    assert [file.exists() for file in files] == [True] * 3


def test_keeps_what_is_no_report_in_an_old_folder(service: Service) -> None:
    add_old_report(service, date(2024, 1, 1))
    note = service.report_root / FOLDER / "2024-01-01" / "note.txt"
    note.write_text("kept")

    service.run(JOB)

    assert note.exists()


# The purge of what was reported


def test_deletes_approved_and_rejected_applications_only(service: Service) -> None:
    kept = {service.add_application(status=status) for status in ("PENDING", "ON_HOLD")}
    for status in ("APPROVED", "REJECTED"):
        service.add_application(status=status)

    result = service.run(JOB, delete_reported=True)

    assert result.status is Status.SUCCESS
    assert outcome(result, "media_application").deleted == 2
    assert applications(service) == kept


def test_deletes_the_applications_of_the_week_only(service: Service) -> None:
    kept = {
        service.add_application(applied_date=datetime(2026, 11, 8, 23, 59, 59, 999_000)),
        service.add_application(applied_date=datetime(2026, 11, 16)),
    }
    service.add_application()

    service.run(JOB, delete_reported=True)

    assert applications(service) == kept


def test_deletes_in_more_than_one_batch(service: Service) -> None:
    add_many(service, 400)

    result = service.run(JOB, delete_reported=True)

    done = outcome(result, "media_application")
    assert (done.matched, done.deleted, service.count("media_application")) == (400, 400, 0)
    assert done.batches > 1


def test_deletes_the_proof_of_identity(service: Service) -> None:
    proof, other = service.add_file("files/a.pdf"), service.add_file("files/b.pdf")
    service.add_application(proof_of_id_path="a.pdf")
    service.add_application(proof_of_id_path="b.pdf", status="PENDING")
    service.add_application(proof_of_id_path=None)

    service.run(JOB, delete_reported=True)

    assert (proof.exists(), other.exists()) == (False, True)
    assert service.count("maintenance.file_outbox") == 0


def test_deletes_the_proof_of_identity_of_an_old_disk_path(service: Service) -> None:
    proofs = [service.add_file(f"files/{name}.jpg") for name in "abc"]
    for path in ("/opt/app/storage/temp/uploads/a.jpg", "storage/temp/uploads/b.jpg", r"C:\uploads\c.jpg"):
        service.add_application(proof_of_id_path=path)

    result = service.run(JOB, delete_reported=True)

    assert result.status is Status.SUCCESS
    assert [proof.exists() for proof in proofs] == [False] * 3


def test_a_proof_of_identity_that_is_gone_is_no_error(service: Service) -> None:
    service.add_application(proof_of_id_path="gone.pdf")

    result = service.run(JOB, delete_reported=True)

    assert result.status is Status.SUCCESS
    assert service.count("media_application") == 0


def test_a_proof_of_identity_that_cannot_be_deleted_is_left_to_the_next_run(service: Service) -> None:
    obstacle = service.add_file("files/a.pdf/inside")
    service.add_application(proof_of_id_path="a.pdf")

    failed = service.run(JOB, delete_reported=True)
    queued = service.count("maintenance.file_outbox")
    obstacle.unlink()
    obstacle.parent.rmdir()
    proof = service.add_file("files/a.pdf")
    finished = service.run(JOB, delete_reported=True)

    assert (failed.status, queued) == (Status.FAILED, 1)
    assert finished.status is Status.SUCCESS
    assert not proof.exists()


def test_an_empty_week_finishes_the_files_of_a_killed_run(service: Service) -> None:
    proof = service.add_file("files/left.pdf")
    service.insert("maintenance.file_outbox", job=JOB, path="files/left.pdf", run_id="killed")

    result = service.run(JOB, delete_reported=True)

    assert result.status is Status.SUCCESS
    assert not proof.exists()


def test_deletes_nothing_that_notify_refused(service: Service) -> None:
    service.add_application()
    service.notify.fail_next(403, "AuthError", "Invalid token")

    result = service.run(JOB, delete_reported=True)

    assert result.status is Status.FAILED
    assert service.count("media_application") == 1


def test_deletes_nothing_that_was_rejected(service: Service) -> None:
    service.add_application()
    service.notify.reject("team@example.org")

    service.run(JOB, delete_reported=True)

    assert service.count("media_application") == 1


def test_deletes_nothing_without_a_key(service: Service) -> None:
    del service.environ["CATH_NOTIFY_API_KEY"]
    service.add_application()

    result = service.run(JOB, delete_reported=True)

    assert (result.status, outcome(result, "media_application").deleted) == (Status.SUCCESS, 0)
    assert service.count("media_application") == 1


def test_deletes_what_an_earlier_run_delivered(service: Service) -> None:
    proof = service.add_file("files/a.pdf")
    service.add_application(proof_of_id_path="a.pdf")
    service.run(JOB, delete_reported=False)

    result = service.run(JOB, delete_reported=True)

    assert outcome(result, "media_application").deleted == 1
    assert service.count("media_application") == 0
    assert not proof.exists()
    assert len(service.notify.sent) == 1


def test_keeps_an_application_that_changed_after_the_delivery(service: Service) -> None:
    changes = (
        "name = 'Another'",
        "email = 'another@example.com'",
        "employer = 'Another'",
        "status = 'REJECTED'",
        "status = 'PENDING'",
        "applied_date = applied_date + interval '1 second'",
        "proof_of_id_path = 'another.pdf'",
    )
    changed = {change: service.add_application() for change in changes}
    service.add_application()
    service.run(JOB)
    for change, application in changed.items():
        statement = f"UPDATE media_application SET {change} WHERE id = %s"
        service.connection.execute(statement, [application])

    service.run(JOB, delete_reported=True)

    assert applications(service) == set(changed.values())


def test_keeps_an_application_that_came_after_the_delivery(service: Service) -> None:
    service.add_application()
    service.run(JOB)
    late = service.add_application()

    service.run(JOB, delete_reported=True)

    assert applications(service) == {late}


def test_a_second_run_after_the_purge_changes_nothing(service: Service) -> None:
    service.add_application(status="PENDING")
    service.add_application()
    service.run(JOB, delete_reported=True)
    before = stored(service)

    result = service.run(JOB, delete_reported=True)

    assert result.status is Status.SUCCESS
    assert sum(done.changed for done in result.outcomes) == 0
    assert stored(service) == before
    assert len(service.notify.sent) == 1


def test_keeps_an_application_that_another_session_changes_while_the_purge_waits_for_it(service: Service) -> None:
    rescued = service.add_application()
    service.add_application()
    service.run(JOB)

    with psycopg.connect(service.url) as writer, ThreadPoolExecutor(1) as pool:
        writer.execute("UPDATE media_application SET status = 'PENDING' WHERE id = %s", [rescued])
        run = pool.submit(service.run, JOB, delete_reported=True)
        wait_until_blocked(service, writer)
        writer.commit()
        result = run.result(60)

    assert (result.status, outcome(result, "media_application").deleted) == (Status.SUCCESS, 1)
    assert applications(service) == {rescued}


def test_stops_at_max_rows_and_the_next_run_goes_on(service: Service) -> None:
    for _ in range(3):
        service.add_application()

    capped = service.run(JOB, delete_reported=True, max_rows=2)
    left = service.count("media_application")
    service.run(JOB, delete_reported=True)

    assert (capped.status, outcome(capped, "media_application").deleted, left) == (Status.SUCCESS, 2, 1)
    assert any("max_rows" in note for note in capped.notes)
    assert service.count("media_application") == 0


def test_refuses_to_delete_most_of_a_large_table_before_it_writes_or_sends(service: Service) -> None:
    add_many(service, 10_001)

    result = service.run(JOB, delete_reported=True)

    assert result.status is Status.REFUSED
    assert "allow_large" in str(result.error)
    assert service.count("media_application") == 10_001
    assert service.notify.sent == []
    assert stored(service) == {}


def test_a_dry_run_says_that_the_purge_would_be_refused(service: Service) -> None:
    add_many(service, 10_001)

    result = service.run(JOB, delete_reported=True, dry_run=True)

    assert result.status is Status.SUCCESS
    assert result.would_refuse is not None


def test_deletes_most_of_a_large_table_where_that_is_allowed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blast_radius, "MIN_ROWS", 500)
    add_many(service, 501)

    refused = service.run(JOB, delete_reported=True)
    allowed = service.run(JOB, delete_reported=True, allow_large=True)

    assert (refused.status, allowed.status, service.count("media_application")) == (Status.REFUSED, Status.SUCCESS, 0)


def test_leaves_a_ledger_row(service: Service) -> None:
    service.add_application()

    service.run(JOB, delete_reported=True, run_id="run-1")

    ledger = service.rows(
        "SELECT job, dry_run, deleted, outcome FROM maintenance.purge_ledger "
        "WHERE run_id = 'run-1' AND table_name = 'media_application'"
    )
    assert ledger == [(JOB, False, 1, "success")]


# Dry runs


@pytest.mark.parametrize("delete_reported", [False, True])
def test_a_dry_run_changes_and_sends_nothing(service: Service, delete_reported: bool) -> None:
    service.add_application(proof_of_id_path="a.pdf")
    proof = service.add_file("files/a.pdf")
    old = add_old_report(service, date(2024, 1, 1))
    before = stored(service)

    result = service.run(JOB, dry_run=True, delete_reported=delete_reported)

    assert result.status is Status.SUCCESS
    assert {done.counts()[name] for done in result.outcomes for name in COUNTS if name != "matched"} == {0}
    assert stored(service) == before
    assert old[0].exists()
    assert proof.exists()
    assert service.notify.sent == []
    assert service.count("media_application") == 1
    assert service.count("maintenance.sent_notice") + service.count("maintenance.file_outbox") == 0


def test_a_dry_run_counts_the_rows_and_mails_of_the_run(service: Service) -> None:
    for status in ("PENDING", "APPROVED", "REJECTED"):
        service.add_application(status=status)

    dry = service.run(JOB, dry_run=True, delete_reported=True)
    real = service.run(JOB, delete_reported=True)

    assert outcome(dry, "media_application").matched == outcome(real, "media_application").deleted == 2
    assert outcome(dry, "mail").matched == outcome(real, "mail").notified == 1


@pytest.mark.parametrize("delete_reported", [False, True])
def test_a_dry_run_counts_the_files_of_the_run(service: Service, delete_reported: bool) -> None:
    service.add_application(proof_of_id_path="a.pdf")
    service.add_file("files/a.pdf")
    add_old_report(service, date(2024, 1, 1))

    dry = service.run(JOB, dry_run=True, delete_reported=delete_reported)
    real = service.run(JOB, delete_reported=delete_reported)

    done = outcome(real, "files")
    assert outcome(dry, "files").matched == done.updated + done.deleted


def test_a_dry_run_after_the_run_matches_nothing_to_write_or_send(service: Service) -> None:
    service.add_application()
    service.run(JOB, delete_reported=True)

    result = service.run(JOB, dry_run=True, delete_reported=True)

    assert matched(result) == {"media_application": 0, "mail": 0, "files": 0}


def test_a_dry_run_counts_only_what_is_still_as_delivered(service: Service) -> None:
    changed = service.add_application()
    service.add_application()
    service.run(JOB)
    service.connection.execute("UPDATE media_application SET employer = 'Another' WHERE id = %s", [changed])

    result = service.run(JOB, dry_run=True, delete_reported=True)

    assert outcome(result, "media_application").matched == 1


# Runs at once


def test_runs_of_different_weeks_go_on_at_once(service: Service) -> None:
    service.add_application(applied_date=datetime(2026, 11, 3))
    service.add_application()

    with held_run(service, partition=WEEK) as first:
        second = service.run(JOB, partition="2026-11-02")

    assert second.status is Status.SUCCESS
    assert first.result().status is Status.SUCCESS


def test_a_second_run_of_the_same_week_is_refused_and_names_the_first(service: Service) -> None:
    service.add_application()

    with held_run(service, partition=WEEK, run_id="first-run") as first:
        second = service.run(JOB, partition=WEEK)

    assert second.status is Status.REFUSED
    assert "first-run" in str(second.error)
    assert first.result().status is Status.SUCCESS
    assert service.notify.sent == []


def test_a_run_without_a_partition_and_one_of_its_week_exclude_each_other(service: Service) -> None:
    service.add_application()

    with held_run(service):
        second = service.run(JOB, partition=WEEK)

    assert second.status is Status.REFUSED


def test_runs_without_a_partition_of_different_weeks_go_on_at_once(service: Service) -> None:
    service.add_application()

    with held_run(service):
        second = service.run(JOB, as_of=service.as_of - timedelta(weeks=1))

    assert second.status is Status.SUCCESS


def test_a_dry_run_goes_on_beside_a_run(service: Service) -> None:
    service.add_application()

    with held_run(service, partition=WEEK):
        second = service.run(JOB, partition=WEEK, dry_run=True)

    assert second.status is Status.SUCCESS


# Configuration and faults


@pytest.mark.parametrize("variable", ["CATH_REPORT_URL", "CATH_TEAM_EMAIL", "CATH_NOTIFY_TEMPLATE_MEDIA_REPORT"])
def test_names_a_missing_variable_before_anything_is_done(service: Service, variable: str) -> None:
    service.add_application()
    del service.environ[variable]

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert variable in str(result.error)
    assert stored(service) == {}
    assert service.notify.sent == []
    assert service.count("maintenance.sent_notice") == 0


@pytest.mark.parametrize("delivered", [False, True])
def test_names_the_missing_blob_store_before_it_deletes(service: Service, delivered: bool) -> None:
    service.add_application(proof_of_id_path="a.pdf")
    if delivered:
        service.run(JOB)
    before = stored(service)
    del service.environ["CATH_BLOB_URL"]

    result = service.run(JOB, delete_reported=True)

    assert result.status is Status.FAILED
    assert "CATH_BLOB_URL" in str(result.error)
    assert service.count("media_application") == 1
    assert stored(service) == before


def test_needs_no_blob_store_where_nothing_is_deleted(service: Service) -> None:
    del service.environ["CATH_BLOB_URL"]
    service.add_application()

    assert service.run(JOB).status is Status.SUCCESS


def test_says_that_the_report_store_cannot_be_reached(service: Service, tmp_path: Path) -> None:
    obstacle = tmp_path / "obstacle"
    obstacle.write_text("no folder")
    service.environ["CATH_REPORT_URL"] = obstacle.as_uri()
    service.add_application()

    result = service.run(JOB, delete_reported=True)

    assert result.status is Status.FAILED
    assert "report store" in str(result.error)
    assert service.notify.sent == []
    assert service.count("media_application") == 1


def test_says_that_the_report_cannot_be_written_and_the_next_run_does_it(service: Service) -> None:
    obstacle = service.report_root / FOLDER / WEEK
    obstacle.parent.mkdir()
    obstacle.write_text("no folder")
    service.add_application()

    failed = service.run(JOB)
    sent_without_report = len(service.notify.sent)
    obstacle.unlink()
    finished = service.run(JOB)

    assert (failed.status, sent_without_report) == (Status.FAILED, 0)
    assert finished.status is Status.SUCCESS
    assert len(service.notify.sent) == 1
