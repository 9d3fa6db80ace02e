"""Alerts reach mail, Teams and Slack once each, at a limited rate, and what failed is tried again."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cath_dagster.core.errors import ConfigurationError, LockHeldError
from cath_dagster.core.postgres.database import Database, Limits
from cath_dagster.development.simulators.smtp import SmtpServer
from cath_dagster.operations.alerts import Alert, AlertSettings, Kind
from cath_dagster.operations.channels import open_channels
from cath_dagster.operations.delivery import LOCK, Delivered, deliver
from cath_dagster.operations.store import AlertStore
from tests.operations.instance import NOW
from tests.operations.receivers import Proxy, Receiver, Request
from tests.support.certificate import make_certificate

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def webhook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def failed(run: str = "run-1", *, job: str = "cath/clear_audit", at: datetime = NOW, is_over: bool = False) -> Alert:
    return Alert(
        kind=Kind.RUN_FAILED,
        subject=job,
        occurrence=run,
        title=f"{job} {'works again' if is_over else 'failed'}",
        says=("Left undone: 7 of 9 due in audit_log.",),
        at=at,
        path=f"/runs/{run}",
        is_over=is_over,
    )


def tell(database: Database, *urls: str, now: datetime = NOW, **settings: object) -> Delivered:
    chosen = AlertSettings(alert_urls=" ".join(urls), ui_url="https://dagster.example.org", **settings)
    return deliver(database, chosen, open_channels(chosen.channels, variable="URLS"), now=now)


def to(receiver: Receiver, *, path: str = "hook") -> str:
    return f"json://127.0.0.1:{receiver.port}/{path}?rto=0.5"


def titles(receiver: Receiver) -> list[str]:
    return [request.json["title"] for request in receiver.requests]


def test_a_mail_has_the_runs_link_what_was_left_undone_and_the_runbooks_link(database: Database) -> None:
    AlertStore(database).record([failed()])

    with SmtpServer() as server:
        port = server.url.rpartition(":")[2]
        url = f"mailto://127.0.0.1:{port}?from=dagster@example.org&to=ops@example.org&mode=insecure"
        done = tell(database, url, runbook_url="https://docs.example.org/alerts.md", env_name="staging")

        (mail,) = server.sent
    assert done == Delivered(messages=1, errors=())
    assert (mail.recipient, mail.subject) == ("ops@example.org", "staging: cath/clear_audit failed")
    said = mail.text or mail.html
    assert "https://dagster.example.org/runs/run-1" in said
    assert "Left undone: 7 of 9 due in audit_log." in said
    assert "https://docs.example.org/alerts.md#run-failed" in said


def test_a_teams_workflow_is_sent_an_adaptive_card(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, certificate = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    AlertStore(database).record([failed()])

    with Receiver(certificate, status=202, answer=b"") as teams:
        done = tell(database, f"workflows://127.0.0.1:{teams.port}/workflow1/signature1/")

    assert done.errors == ()
    (request,) = teams.requests
    assert request.path.startswith("/workflows/workflow1/triggers/manual/paths/invoke?")
    assert "sig=signature1" in request.path
    (attachment,) = request.json["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert "cath/clear_audit failed" in str(attachment["content"]["body"])
    assert "https://dagster.example.org/runs/run-1" in str(attachment["content"]["body"])


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_slack_webhook_is_sent_through_the_proxy_of_the_environment(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, certificate = make_certificate(tmp_path)
    AlertStore(database).record([failed()])
    tokens = ("T00000000", "B00000000", "X" * 24)

    with Receiver(certificate) as slack, Proxy(slack.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        done = tell(database, f"slack://{'/'.join(tokens)}/?verify=no")

    assert done.errors == ()
    assert proxy.hosts == ["hooks.slack.com:443"]
    (request,) = slack.requests
    assert request.path == f"/services/{'/'.join(tokens)}"
    assert "cath/clear_audit failed" in str(request.json)
    assert "<https://dagster.example.org/runs/run-1|" in str(request.json)


def test_an_alert_that_is_recorded_twice_is_told_once(database: Database, webhook: Receiver) -> None:
    store = AlertStore(database)
    assert store.record([failed()]) == 1
    tell(database, to(webhook))
    assert store.record([failed()]) == 0

    tell(database, to(webhook), now=NOW + 2 * HOUR)

    assert titles(webhook) == ["cath/clear_audit failed"]


def test_alerts_of_one_fingerprint_are_told_once_an_hour_and_the_next_counts_them(
    database: Database, webhook: Receiver
) -> None:
    store = AlertStore(database)
    store.record([failed("run-0")])
    tell(database, to(webhook))
    for number in range(1, 4):
        store.record([failed(f"run-{number}", at=NOW + number * MINUTE)])
        tell(database, to(webhook), now=NOW + number * MINUTE)
    assert len(webhook.requests) == 1

    tell(database, to(webhook), now=NOW + HOUR)

    assert len(webhook.requests) == 2
    assert "It stands for 2 earlier alerts" in webhook.requests[1].json["message"]
    assert "/runs/run-3" in webhook.requests[1].json["message"]


def test_another_jobs_alert_does_not_wait(database: Database, webhook: Receiver) -> None:
    store = AlertStore(database)
    store.record([failed()])
    tell(database, to(webhook))
    store.record([failed("run-2", job="cath/subscriptions")])

    tell(database, to(webhook), now=NOW + MINUTE)

    assert titles(webhook) == ["cath/clear_audit failed", "cath/subscriptions failed"]


def test_the_rate_is_a_setting(database: Database, webhook: Receiver) -> None:
    store = AlertStore(database)
    for number in range(2):
        store.record([failed(f"run-{number}")])
        tell(database, to(webhook), now=NOW + number * MINUTE, alert_interval_minutes=1)

    assert len(webhook.requests) == 2


def test_that_it_is_over_is_told_at_once(database: Database, webhook: Receiver) -> None:
    store = AlertStore(database)
    store.record([failed()])
    tell(database, to(webhook))
    store.record([failed("run-2", is_over=True)])

    tell(database, to(webhook), now=NOW + MINUTE)

    assert titles(webhook)[1:] == ["cath/clear_audit works again"]
    assert webhook.requests[1].json["type"] == "success"


def test_a_job_that_fails_and_recovers_every_minute_is_told_at_most_three_times_an_hour(
    database: Database, webhook: Receiver
) -> None:
    store = AlertStore(database)
    for minute in range(58):
        store.record([failed(f"run-{minute}", is_over=minute % 2 == 1)])
        tell(database, to(webhook), now=NOW + minute * MINUTE)

    assert len(webhook.requests) == 2
    tell(database, to(webhook), now=NOW + HOUR)
    assert len(webhook.requests) == 3


def test_a_channel_that_fails_is_tried_again_and_the_other_is_not_told_twice(
    database: Database, webhook: Receiver
) -> None:
    AlertStore(database).record([failed()])

    with Receiver(status=503) as broken:
        urls = (to(broken), to(webhook))
        done = tell(database, *urls)
        assert len(done.errors) == 1
        assert "503" in done.errors[0]
        assert tell(database, *urls, now=NOW + MINUTE / 2).errors == ()
        assert (len(broken.requests), len(webhook.requests)) == (1, 1)

        broken.status = 200
        done = tell(database, *urls, now=NOW + 2 * MINUTE)

    assert done == Delivered(messages=1, errors=())
    assert (len(broken.requests), len(webhook.requests)) == (2, 1)


def test_attempts_grow_rarer_and_go_on(database: Database) -> None:
    AlertStore(database).record([failed()])

    with Receiver(status=500) as broken:
        for minute in range(120):
            tell(database, to(broken), now=NOW + minute * MINUTE)
        assert 5 <= len(broken.requests) <= 12
        broken.status = 200
        assert tell(database, to(broken), now=NOW + timedelta(hours=3)).messages == 1


@pytest.mark.parametrize("fault", ["refuses", "hangs"])
def test_a_channel_that_refuses_or_hangs_does_not_keep_the_others_from_their_messages(
    database: Database, webhook: Receiver, fault: str
) -> None:
    AlertStore(database).record([failed("a", job="cath/one"), failed("b", job="cath/two")])

    with Receiver(hangs=3.0 if fault == "hangs" else 0.0) as gone:
        url = to(gone) if fault == "hangs" else "json://127.0.0.1:9/hook?cto=0.5"
        done = tell(database, url, to(webhook))

    assert len(done.errors) == 1
    assert sorted(titles(webhook)) == ["cath/one failed", "cath/two failed"]
    assert len(gone.requests) == (1 if fault == "hangs" else 0)


def test_killed_between_sending_and_remembering_it_tells_again_and_loses_nothing(
    database: Database, webhook: Receiver
) -> None:
    class KilledError(BaseException):
        pass

    class Dying(Database):
        """Dies with the statement that would remember the first channel's answer."""

        def transaction(
            self, work: Callable[[sa.Connection], Any], *, limits: Limits | None = None, is_read_only: bool = False
        ) -> Any:
            if webhook.requests:
                raise KilledError
            return super().transaction(work, limits=limits, is_read_only=is_read_only)

    AlertStore(database).record([failed("a", job="cath/one"), failed("b", job="cath/two")])
    with Dying(database._engine) as dying, pytest.raises(KilledError):
        tell(dying, to(webhook))
    assert titles(webhook) == ["cath/one failed"]

    tell(database, to(webhook), now=NOW + MINUTE)

    assert titles(webhook) == ["cath/one failed", "cath/one failed", "cath/two failed"]
    tell(database, to(webhook), now=NOW + 2 * HOUR)
    assert len(webhook.requests) == 3


def test_a_second_process_leaves_the_telling_to_the_first(database: Database, webhook: Receiver) -> None:
    AlertStore(database).record([failed()])
    with Database(database._engine) as other:
        other.lock(LOCK)

        with pytest.raises(LockHeldError):
            tell(database, to(webhook))

    assert webhook.requests == []


def test_an_alert_recorded_while_another_is_sent_is_a_message_of_its_own(database: Database) -> None:
    store = AlertStore(database)
    store.record([failed("a")])

    def record_another(request: Request) -> None:
        if len(receiver.requests) == 1:
            with Database(database._engine) as beside:
                AlertStore(beside).record([failed("b")])

    with Receiver(on_request=record_another) as receiver:
        tell(database, to(receiver))
        tell(database, to(receiver), now=NOW + HOUR)

        assert len(receiver.requests) == 2
        assert "/runs/b" in receiver.requests[1].json["message"]


def test_a_week_old_alert_is_history_and_told_to_nobody(database: Database, webhook: Receiver) -> None:
    AlertStore(database).record([failed(at=NOW - timedelta(days=8)), failed("new", job="cath/two")])

    tell(database, to(webhook))

    assert titles(webhook) == ["cath/two failed"]


def test_an_address_that_nobody_knows_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match=r"address 2 \(nonsense\)") as refused:
        open_channels(["json://127.0.0.1:1/", "nonsense://user:secret@host"], variable="OPERATIONS_ALERT_URLS")

    assert "secret" not in str(refused.value)


def test_a_channels_name_holds_nothing_of_its_address() -> None:
    (channel,) = open_channels(["json://user:secret@chat.example.org/token"], variable="URLS")

    assert channel.name.startswith("json-")
    assert not {"secret", "token", "chat"} & set(channel.name.replace("-", " ").split())
    assert "secret" not in repr(channel)
