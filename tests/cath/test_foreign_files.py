"""What others have put into the report store: the report is made all the same, and what is not ours stays."""

import json
from pathlib import Path

import pytest

from cath_dagster.core.model.outcome import RunResult, Status
from tests.support.media_reports import FOLDER, JOB, WEEK, stored
from tests.support.service import Service, outcome

OLD = "2024-06-03"
"""A Monday more than 78 weeks before the reference time."""
START = {"start_date": "2024-01-01"}


@pytest.fixture
def reporting(service: Service) -> Service:
    service.environ["CATH_MEDIA_REPORTING_START_DATE"] = START["start_date"]
    service.add_application()
    put(service, f"{FOLDER}/{OLD}/old-run.csv")
    return service


def put(service: Service, path: str | bytes, content: bytes = b"x") -> Path:
    file = service.report_root / (path if isinstance(path, str) else path.decode(errors="surrogateescape"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def is_made(service: Service, result: RunResult) -> bool:
    """Return whether the report is stored and was mailed, and old ones are gone."""
    kinds = sorted(
        path.rpartition(".")[2] for path in stored(service) if path.startswith(f"{FOLDER}/{WEEK}/{result.run_id}")
    )
    return kinds == ["csv", "json", "png"] and len(service.notify.sent) == 1


@pytest.mark.parametrize("week", [WEEK, "2026-11-02", "sub/folder", ""])
@pytest.mark.parametrize("name", ["control\x01.csv", "line\nbreak.json", b"no-unicode-\xff.csv"])
def test_a_name_that_no_client_can_use_is_named_and_stops_nothing(
    reporting: Service, week: str, name: str | bytes
) -> None:
    folder = f"{FOLDER}/{week}".rstrip("/")
    odd = put(reporting, f"{folder}/".encode() + (name if isinstance(name, bytes) else name.encode()))

    result = reporting.run(JOB)
    again = reporting.run(JOB)

    assert (result.error, again.error) == (None, None)
    assert is_made(reporting, result)
    assert odd.exists()
    assert not (reporting.report_root / f"{FOLDER}/{OLD}/old-run.csv").exists()
    said = " ".join(result.notes)
    assert (name[:7].decode() if isinstance(name, bytes) else name[:4]) in said
    assert "rename or delete it" in said


def test_one_beside_old_reports_is_a_failure_of_those_alone(reporting: Service) -> None:
    put(reporting, f"{FOLDER}/{OLD}/control\x01.csv")
    put(reporting, f"{FOLDER}/2024-06-10/run.csv")

    result = reporting.run(JOB)

    assert result.status is Status.FAILED
    assert f"the week of {OLD} cannot be looked for" in str(result.error)
    assert is_made(reporting, result)
    assert not (reporting.report_root / f"{FOLDER}/2024-06-10/run.csv").exists()


@pytest.mark.parametrize(
    "path",
    [
        f"{FOLDER}/2024-06-04/not-a-monday.csv",
        f"{FOLDER}/2024-13-45/no-day.csv",
        f"{FOLDER}/{OLD}/notes.txt",
        f"{FOLDER}/{OLD}/sub/run.csv",
        f"{FOLDER}/{OLD}/back\\slash.csv",
        f"{FOLDER}/{FOLDER}/{OLD}/run.csv",
        f"{FOLDER}/{OLD}.csv",
        "another_report/2024-06-03/run.csv",
    ],
)
def test_what_is_no_file_of_an_old_report_stays(reporting: Service, path: str) -> None:
    foreign = put(reporting, path)

    result = reporting.run(JOB)

    assert (result.error, foreign.exists()) == (None, True)
    assert is_made(reporting, result)
    assert outcome(result, "files").deleted == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"csv_sha256"', b"{}", b'{"csv_sha256": 7}', b"\xff\xfe", b"1" * 5_000]
)
def test_what_is_no_report_in_this_weeks_folder_is_passed_over(reporting: Service, content: bytes) -> None:
    foreign = put(reporting, f"{FOLDER}/{WEEK}/aaa.json", content)

    result = reporting.run(JOB)

    assert result.error is None
    assert is_made(reporting, result)
    assert foreign.read_bytes() == content


def test_a_delivered_report_that_was_written_over_is_named(reporting: Service) -> None:
    first = reporting.run(JOB)
    path = f"{FOLDER}/{WEEK}/{first.run_id}.json"
    put(reporting, path, json.dumps({"rows": 7}).encode())

    result = reporting.run(JOB)

    assert result.status is Status.FAILED
    assert f"{path} is no longer what this job wrote" in str(result.error)
