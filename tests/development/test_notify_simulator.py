"""The simulated GOV.UK Notify, spoken to over HTTP."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from cath_dagster.development.simulators.notify import NotifySimulator

ADDRESS = "planted.person@example.org"
TEMPLATE_ID = "1dea6b4b-48b6-4eb1-8b86-7031de5502d9"
API_KEY = f"samples-{uuid.UUID(int=1)}-{uuid.UUID(int=2)}"


@pytest.fixture
def notify() -> Iterator[NotifySimulator]:
    with NotifySimulator() as simulator:
        yield simulator


def sign(api_key: str, *, issued_at: float | None = None, issuer: str | None = None) -> dict[str, str]:
    claims = {"iss": issuer or api_key[-73:-37], "iat": int(time.time() if issued_at is None else issued_at)}
    return {"Authorization": f"Bearer {jwt.encode(claims, api_key[-36:], algorithm='HS256')}"}


def post(base_url: str, headers: dict[str, str], **changes: object) -> requests.Response:
    body = {"email_address": ADDRESS, "template_id": TEMPLATE_ID, "reference": "warning/1", **changes}
    return requests.post(f"{base_url}/v2/notifications/email", json=body, headers=headers, timeout=5)


def get(base_url: str, path: str, headers: dict[str, str]) -> requests.Response:
    return requests.get(base_url + path, headers=headers, timeout=5)


def read_error(response: requests.Response) -> tuple[int, str, str]:
    body: dict[str, Any] = response.json()
    assert body["status_code"] == response.status_code
    return response.status_code, body["errors"][0]["error"], body["errors"][0]["message"]


def test_answers_a_mail_as_notify_does(notify: NotifySimulator) -> None:
    response = post(notify.base_url, sign(notify.api_key))
    assert response.status_code == 201
    assert response.json()["id"] == notify.sent[0].id
    assert response.json()["template"]["id"] == TEMPLATE_ID


def test_generates_a_key_in_the_format_of_notify(notify: NotifySimulator) -> None:
    assert uuid.UUID(notify.api_key[-73:-37]) != uuid.UUID(notify.api_key[-36:])


def test_refuses_a_request_without_a_token(notify: NotifySimulator) -> None:
    assert read_error(post(notify.base_url, {}))[:2] == (401, "AuthError")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer nonsense"},
        sign(API_KEY),
    ],
    ids=["no token", "another key"],
)
def test_refuses_a_token_that_our_key_did_not_sign(notify: NotifySimulator, headers: dict[str, str]) -> None:
    assert read_error(post(notify.base_url, headers))[:2] == (403, "AuthError")


def test_refuses_the_token_of_another_service(notify: NotifySimulator) -> None:
    assert read_error(post(notify.base_url, sign(notify.api_key, issuer=str(uuid.uuid4()))))[0] == 403


def test_refuses_an_old_token(notify: NotifySimulator) -> None:
    answer = read_error(post(notify.base_url, sign(notify.api_key, issued_at=time.time() - 60)))
    assert answer == (403, "AuthError", "Error: Your system clock must be accurate to within 30 seconds")


@pytest.mark.parametrize("address", ["nobody", "a b@example.org", "a@example", ""])
def test_refuses_what_is_no_address(notify: NotifySimulator, address: str) -> None:
    answer = read_error(post(notify.base_url, sign(notify.api_key), email_address=address))
    assert answer == (400, "ValidationError", "email_address Not a valid email address")
    assert notify.sent == []


def test_refuses_a_rejected_address_always(notify: NotifySimulator) -> None:
    notify.reject(ADDRESS)
    assert [post(notify.base_url, sign(notify.api_key)).status_code for _ in range(2)] == [400, 400]


def test_refuses_a_template_id_that_is_no_uuid(notify: NotifySimulator) -> None:
    answer = read_error(post(notify.base_url, sign(notify.api_key), template_id="media_warning"))
    assert answer == (400, "ValidationError", "template_id is not a valid UUID")


def test_refuses_a_file_above_two_megabytes(notify: NotifySimulator) -> None:
    upload = {"file": "AAAA" * 700_000, "filename": None}
    answer = post(notify.base_url, sign(notify.api_key), personalisation={"link_to_file": upload})
    assert answer.status_code == 400


def test_finds_the_mails_of_a_reference_alone(notify: NotifySimulator) -> None:
    for reference in ("warning/1", "warning/2"):
        post(notify.base_url, sign(notify.api_key), reference=reference)
    body = get(notify.base_url, "/v2/notifications?reference=warning/2", sign(notify.api_key)).json()
    assert [mail["reference"] for mail in body["notifications"]] == ["warning/2"]
    assert body["notifications"][0]["status"] == "delivered"
    assert "current" in body["links"]


def test_knows_every_template_but_a_lost_one(notify: NotifySimulator) -> None:
    path = f"/v2/template/{TEMPLATE_ID}"
    assert get(notify.base_url, path, sign(notify.api_key)).json()["id"] == TEMPLATE_ID
    notify.lose_template(TEMPLATE_ID)
    assert read_error(get(notify.base_url, path, sign(notify.api_key)))[:2] == (404, "NoResultFound")


def test_lists_the_templates_that_were_used(notify: NotifySimulator) -> None:
    post(notify.base_url, sign(notify.api_key))
    body = get(notify.base_url, "/v2/templates", sign(notify.api_key)).json()
    assert [template["id"] for template in body["templates"]] == [TEMPLATE_ID]


def test_answers_an_unknown_path_with_404(notify: NotifySimulator) -> None:
    assert get(notify.base_url, "/v2/letters", sign(notify.api_key)).status_code == 404


def test_fails_as_many_requests_as_asked(notify: NotifySimulator) -> None:
    notify.fail_next(500, "Exception", "Internal server error", times=2)
    assert [post(notify.base_url, sign(notify.api_key)).status_code for _ in range(3)] == [500, 500, 201]


def test_closes_a_request_without_taking_the_mail(notify: NotifySimulator) -> None:
    notify.close_next()
    with pytest.raises(requests.ConnectionError):
        post(notify.base_url, sign(notify.api_key))
    assert notify.sent == []


def test_closes_a_request_after_taking_the_mail(notify: NotifySimulator) -> None:
    notify.close_next(after_taking=True)
    with pytest.raises(requests.ConnectionError):
        post(notify.base_url, sign(notify.api_key))
    assert len(notify.sent) == 1


def test_stops_at_once_while_requests_hang() -> None:
    simulator = NotifySimulator()
    simulator.start()
    simulator.hang_next(60)
    with pytest.raises(requests.Timeout):
        requests.get(f"{simulator.base_url}/v2/templates", timeout=0.05)
    began = time.monotonic()
    simulator.stop()
    # Not after the minute that the request hangs.
    assert time.monotonic() - began < 30


def test_remembers_the_mails_of_its_log_after_a_restart(tmp_path: Path) -> None:
    upload = {"file": "YSxiCg==", "retention_period": "78 weeks", "confirm_email_before_download": False}
    log = tmp_path / "mails.jsonl"
    with NotifySimulator(log_path=log) as simulator:
        post(simulator.base_url, sign(simulator.api_key), personalisation={"link_to_file": upload})
        taken = simulator.sent
    with NotifySimulator(log_path=log) as simulator:
        assert simulator.sent == taken
        assert simulator.sent[0].file is not None
        assert simulator.sent[0].file.content == b"a,b\n"


def test_keeps_its_log_from_other_users(tmp_path: Path) -> None:
    log = tmp_path / "mails.jsonl"
    with NotifySimulator(log_path=log) as simulator:
        post(simulator.base_url, sign(simulator.api_key))
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_runs_as_a_process_and_prints_nothing_personal(tmp_path: Path) -> None:
    log = tmp_path / "mails.jsonl"
    command = [
        sys.executable,
        "-m",
        "cath_dagster.development.simulators.notify",
        "--log",
        str(log),
        "--api-key",
        API_KEY,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        post(line.split()[-1], sign(API_KEY))
        os.kill(process.pid, signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert line.startswith("GOV.UK Notify simulator on http://127.0.0.1:")
    assert rest == ""
    assert json.loads(log.read_text())["email_address"] == ADDRESS
