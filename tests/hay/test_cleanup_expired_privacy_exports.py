"""Exports of personal data are taken back once their time is over: the row's secrets and the file, and no other file."""

import itertools
import os
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from cath_dagster.core.model.outcome import Status
from tests.hay.hay import Hay
from tests.support.kills import kill_at
from tests.support.maintained import outcome

JOB = "cleanup_expired_privacy_exports"


def iso(instant: datetime) -> str:
    return f"{instant.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def add_export(hay: Hay, expires: Any = ..., *, name: str = "customer-export-{}.zip", **values: Any) -> uuid.UUID:
    """Add a completed export with its file, which has expired unless told otherwise."""
    key = uuid.uuid4()
    metadata = {
        "exportUrl": f"/srv/exports/{key}.zip",
        "downloadToken": "made up",
        "signature": "s",
        "exportFormat": "zip",
    }
    if expires is not None:
        metadata["exportExpiresAt"] = iso(hay.ago(days=1)) if expires is ... else expires
    add_file(hay, name.format(key), days=1)
    return hay.add_request(**{"id": key, "completed_at": hay.ago(days=1), "metadata": metadata, **values})


def add_file(hay: Hay, name: str, *, days: float) -> str:
    """Write a file as if so many days ago."""
    path = hay.exports / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(b"made up")
    at = hay.ago(days=days).timestamp()
    os.utime(path, (at, at))
    return name


def files(hay: Hay) -> set[str]:
    return {str(path.relative_to(hay.exports)) for path in hay.exports.rglob("*") if not path.is_dir()}


def taken_back(hay: Hay) -> set[uuid.UUID]:
    query = "SELECT id FROM privacy_requests WHERE metadata ? 'exportDeletedAt' AND NOT metadata ?| ARRAY['exportUrl', 'downloadToken']"
    return {key for (key,) in hay.rows(query)}


def test_takes_back_what_is_over_by_its_own_word_by_downloads_or_by_age(hay: Hay) -> None:
    week, day, moment = hay.ago(days=7), hay.ago(hours=24), timedelta(microseconds=1)
    later = iso(hay.ago(days=-1))
    goes = {
        "expired a moment ago": add_export(hay, iso(hay.ago(seconds=0.001))),
        "downloaded, a day ago": add_export(hay, later, download_count=1, downloaded_at=day - moment),
        "named as formerly": add_export(hay, name="export-{}.json"),
        "named as formerly too": add_export(hay, name="customer-export-{}.json"),
        "without a date, a week old": add_export(hay, None, completed_at=week - moment),
        "with a date that is none": add_export(hay, "2026-13-45T00:00:00.000Z", completed_at=week - moment),
        "with words for a date": add_export(hay, "tomorrow", completed_at=week - moment),
        "with a number for a date": add_export(hay, 1_700_000_000, completed_at=week - moment),
        "with a date of whole seconds": add_export(hay, "2026-11-18T02:59:59Z"),
    }
    stays = {
        "expires now": add_export(hay, iso(hay.as_of)),
        "expires later, old as it is": add_export(hay, later, completed_at=hay.ago(days=90)),
        "downloaded just a day ago": add_export(hay, later, download_count=1, downloaded_at=day),
        "may be downloaded again": add_export(
            hay, later, download_count=1, max_downloads=2, downloaded_at=hay.ago(days=3)
        ),
        "without a date, a week old to the moment": add_export(hay, None, completed_at=week),
        "without a date, never completed": add_export(hay, None, completed_at=None),
        "being made": add_export(hay, status="processing"),
    }
    apart = add_export(hay, type="deletion")
    hay.add_request(metadata=None)
    hay.add_request(metadata=["exportUrl"])

    plan = hay.run(JOB, dry_run=True)
    untouched = files(hay)
    result = hay.run(JOB)
    again = hay.run(JOB)

    assert (result.status, result.error) == (Status.SUCCESS, None)
    assert {name for name, key in goes.items() if key not in taken_back(hay)} == set()
    assert taken_back(hay) == set(goes.values())
    assert {uuid.UUID(name[-40:-4]) for name in files(hay)} == {*stays.values(), apart}
    assert {hay.column("privacy_requests", "status")[key] for key in goes.values()} == {"completed"}
    kept = {
        key
        for (key,) in hay.rows(
            "SELECT jsonb_object_keys(metadata) FROM privacy_requests WHERE metadata ? 'exportDeletedAt'"
        )
    }
    assert kept == {"signature", "exportFormat", "exportExpiresAt", "exportDeletedAt"}
    assert len(untouched) == len(goes) + len(stays) + 1
    assert [(each.target, each.matched) for each in plan.outcomes] == [
        ("privacy_requests", len(goes)),
        ("files", len(goes)),
    ]
    assert (outcome(result, "privacy_requests").updated, outcome(result, "files").deleted) == (len(goes), len(goes))
    assert (again.changed, again.error) == (0, None)


def test_deletes_of_other_files_only_exports_that_nobody_may_have(hay: Hay) -> None:
    """Whatever else lies in the folder is somebody's: the service's own clean-up takes any archive and any JSON."""
    valid = add_export(hay, iso(hay.ago(days=-1)))
    add_file(hay, f"export-{valid}.json", days=400)
    nobodys, failed = str(uuid.uuid4()), hay.add_request(status="failed")
    gone = {
        *(add_file(hay, name.format(nobodys), days=7.01) for name in ("customer-export-{}.zip", "export-{}.json")),
        add_file(hay, f"customer-export-{failed}.json", days=8),
    }
    add_file(hay, f"customer-export-{uuid.uuid4()}.zip", days=6.99)
    for name in (
        "package.json",
        "backup.zip",
        "customer-export-1.zip",
        f"export-{nobodys}.zip",
        f"my-export-{nobodys}.json",
    ):
        add_file(hay, name, days=400)
    add_file(hay, f"deeper/export-{nobodys}.json", days=400)
    add_file(hay, f"export-{nobodys}.json.bak", days=400)
    outside = hay.exports.parent / "outside.zip"
    outside.write_bytes(b"somebody's")
    (hay.exports / f"customer-export-{uuid.uuid4()}.json").symlink_to(outside)
    before = files(hay)

    plan, result = hay.run(JOB, dry_run=True), hay.run(JOB)

    assert (result.error, before - files(hay)) == (None, gone)
    assert (outcome(plan, "files").matched, outcome(result, "files").deleted) == (len(gone), len(gone))
    assert outside.exists()


def test_without_a_folder_the_rows_are_done_and_the_files_counted(hay: Hay) -> None:
    add_export(hay)
    url = hay.environ.pop("HAY_EXPORTS_URL")

    plan, result = hay.run(JOB, dry_run=True), hay.run(JOB)

    assert [outcome(each, "privacy_requests").details["unreachable"] for each in (plan, result)] == [1, 1]
    assert (result.status, len(taken_back(hay)), len(files(hay))) == (Status.SUCCESS, 1, 1)
    assert "HAY_EXPORTS_URL" in " ".join(result.notes)
    # Whoever gives the folder later loses no file of sight.
    hay.environ["HAY_EXPORTS_URL"] = url
    hay.run(JOB, orphan_days=1)
    assert files(hay) == {
        name for name in files(hay) if hay.ago(days=1).timestamp() <= (hay.exports / name).stat().st_mtime
    }


def test_a_folder_that_is_not_mounted_fails_the_run_and_the_next_one_deletes(hay: Hay) -> None:
    add_export(hay)
    elsewhere = hay.exports.rename(hay.exports.with_name("elsewhere"))

    first = hay.run(JOB)
    elsewhere.rename(hay.exports)
    second = hay.run(JOB)

    assert (first.status, len(taken_back(hay))) == (Status.FAILED, 1)
    assert "does not exist" in (first.error or "")
    assert (second.error, files(hay)) == (None, set())


def test_an_export_that_is_prolonged_while_the_run_waits_stays(hay: Hay) -> None:
    key = add_export(hay)
    later = f'{{"exportExpiresAt": "{iso(hay.ago(days=-1))}"}}'

    result = hay.run_beside(
        JOB, ("UPDATE privacy_requests SET metadata = metadata || %s::jsonb WHERE id = %s", [later, key])
    )

    assert (result.error, taken_back(hay), len(files(hay))) == (None, set(), 1)


def test_many_are_done_in_several_batches_and_no_more_than_asked_for(hay: Hay) -> None:
    user = hay.add_user()
    hay.connection.execute(
        "INSERT INTO privacy_requests (email, type, status, user_id, metadata) SELECT 'x@example.org', 'export', 'completed', %s,"
        ' \'{"exportUrl": "x", "exportExpiresAt": "2020-01-01T00:00:00.000Z"}\' FROM generate_series(1, 700)',
        [user],
    )
    del hay.environ["HAY_EXPORTS_URL"]

    some, rest = hay.run(JOB, max_rows=50), hay.run(JOB)

    assert (some.changed, outcome(some, "privacy_requests").skipped, rest.changed) == (50, 650, 650)
    assert outcome(rest, "privacy_requests").batches == 2


@pytest.mark.stack
def test_killed_anywhere_no_file_is_forgotten(hay: Hay) -> None:
    """In processes of their own: the store's library has threads, which no fork survives."""
    for place in itertools.count(1):
        key = add_export(hay)

        is_killed = kill_at(hay, JOB, place)

        assert files(hay) == set() or key not in taken_back(hay) or hay.count("maintenance.file_outbox") == 3
        assert hay.run(JOB).error is None
        assert (key in taken_back(hay), files(hay)) == (True, set())
        if not is_killed:
            break
    assert place > 4
