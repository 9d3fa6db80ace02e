"""The end of the local stack: what goes on is waited for, what is left is cancelled, and a UI that is gone holds nothing up."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.development import winding_down
from cath_dagster.development.winding_down import graceful_seconds, wind_down


class Ui(ThreadingHTTPServer):
    """Answers as Dagster's UI would of runs that end after so many looks, or once they are cancelled."""

    daemon_threads = True

    def __init__(self, **looks: int) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.looks = looks
        self.asked: list[tuple[str, list[str]]] = []


class Answer(BaseHTTPRequestHandler):
    server: Ui

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "terminateRuns" in asked["query"]:
            variables = asked["variables"]
            self.server.asked.append((variables["policy"], variables["ids"]))
            is_safe = variables["policy"] == "SAFE_TERMINATE"
            self.server.looks = {name: left for name, left in self.server.looks.items() if is_safe and name == "deaf"}
            self.say({"terminateRuns": {"__typename": "TerminateRunsResult"}})
            return
        going = [name for name, left in self.server.looks.items() if left > 0]
        self.server.looks = {name: left - 1 for name, left in self.server.looks.items()}
        self.say({"runsOrError": {"results": [{"runId": name, "jobName": name} for name in going]}})

    def say(self, data: object) -> None:
        body = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winding_down, "CANCEL_SECONDS", 0.1)


def serve(ui: Ui) -> Iterator[Ui]:
    thread = threading.Thread(target=ui.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield ui
    finally:
        ui.shutdown()
        ui.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("looks", "seconds", "asked"),
    [
        ({}, 30.0, []),
        ({"quick": 3}, 30.0, []),
        ({"slow": 1_000_000}, 0.0, [("SAFE_TERMINATE", ["slow"])]),
        ({"deaf": 1_000_000}, 0.0, [("SAFE_TERMINATE", ["deaf"]), ("MARK_AS_CANCELED_IMMEDIATELY", ["deaf"])]),
    ],
)
def test_waits_then_cancels_and_notes(
    looks: dict[str, int], seconds: float, asked: list[tuple[str, list[str]]]
) -> None:
    for ui in serve(Ui(**looks)):
        wind_down(ui.server_port, seconds=seconds, sleep=lambda _: None)

        assert ui.asked == asked


def test_a_second_interrupt_ends_the_waiting_and_still_cancels() -> None:
    def interrupt(_: float) -> None:
        ui.looks["slow"] = 1
        raise KeyboardInterrupt

    for ui in serve(Ui(slow=1_000_000)):
        wind_down(ui.server_port, seconds=3_600, sleep=interrupt)

        assert ui.asked == [("SAFE_TERMINATE", ["slow"])]


def test_a_ui_that_is_gone_holds_nothing_up() -> None:
    for ui in serve(Ui()):
        port = ui.server_port

    wind_down(port, seconds=3_600)


def test_the_time_is_thirty_seconds_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert graceful_seconds() == 30
    monkeypatch.setenv("SCHEDULER_GRACEFUL_SECONDS", "0")
    assert graceful_seconds() == 0
    for wrong in ("soon", "-1", "3601"):
        monkeypatch.setenv("SCHEDULER_GRACEFUL_SECONDS", wrong)
        with pytest.raises(ConfigurationError, match="SCHEDULER_GRACEFUL_SECONDS"):
            graceful_seconds()
