"""The sensors as Dagster evaluates them: what they leave in the instance, and what a kill between two steps costs."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from cath_dagster.operations.store import AlertStore
from tests.operations.instance import Instance
from tests.operations.receivers import Receiver
from tests.operations.ticks import evaluate
from tests.support.watches import WATCHES

FINAL = {"dagster/will_retry": "false"}


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with Receiver() as receiver:
        monkeypatch.setenv("OPERATIONS_ALERT_URLS", f"json://127.0.0.1:{receiver.port}/hook")
        yield receiver


def fail_run(instance: Instance) -> str:
    return instance.add_run(
        "clear_audit", DagsterRunStatus.FAILURE, ended_at=datetime.now(UTC) - timedelta(minutes=2), tags=FINAL
    )


@pytest.mark.parametrize("name", WATCHES)
def test_a_watch_of_an_empty_instance_finds_nothing_and_remembers_where_it_was(instance: Instance, name: str) -> None:
    said, cursor = evaluate(instance, name)

    assert said == "nothing new"
    assert cursor
    assert evaluate(instance, name, cursor)[0] == "nothing new"


def test_a_failed_run_goes_from_the_watch_through_the_table_to_the_channel(
    instance: Instance, webhook: Receiver
) -> None:
    run = fail_run(instance)

    said, cursor = evaluate(instance, "failed_runs")
    assert said == "1 new"
    assert evaluate(instance, "deliver_alerts")[0] == "1 told"

    (request,) = webhook.requests
    assert request.json["title"] == "cath/clear_audit failed"
    assert run in request.json["message"]
    assert evaluate(instance, "failed_runs", cursor)[0] == "nothing new"
    assert evaluate(instance, "deliver_alerts")[0] == "nothing to tell"


def test_a_watch_that_was_killed_before_its_cursor_moved_finds_the_same_and_tells_it_once(
    instance: Instance, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_run(instance)
    with monkeypatch.context() as patch:
        patch.setattr(dg.SensorEvaluationContext, "update_cursor", _killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(instance, "failed_runs")

    assert evaluate(instance, "failed_runs")[0] == "nothing new"
    evaluate(instance, "deliver_alerts")

    assert len(webhook.requests) == 1


def test_a_watch_that_was_killed_before_it_recorded_finds_it_the_next_time(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_run(instance)
    with monkeypatch.context() as patch:
        patch.setattr(AlertStore, "record", _killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(instance, "failed_runs")

    assert evaluate(instance, "failed_runs")[0] == "1 new"


def _killed(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_without_a_channel_alerts_are_recorded_and_the_sensor_says_that_nobody_is_told(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPERATIONS_ALERT_URLS", raising=False)
    fail_run(instance)

    evaluate(instance, "failed_runs")

    assert "OPERATIONS_ALERT_URLS is not set" in evaluate(instance, "deliver_alerts")[0]
    assert instance.count("maintenance.alert") == 1


def test_the_tick_of_a_delivery_that_fails_fails_and_says_which_channel(instance: Instance, webhook: Receiver) -> None:
    webhook.status = 500
    fail_run(instance)
    evaluate(instance, "failed_runs")

    with pytest.raises(dg.Failure, match=r"json-[0-9a-f]{8}: answered 500"):
        evaluate(instance, "deliver_alerts")


def test_a_setting_that_cannot_be_used_names_its_variable(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATIONS_SKIPPED_TICKS", "none")

    with pytest.raises(Exception, match="OPERATIONS_SKIPPED_TICKS is 'none'"):
        evaluate(instance, "missed_schedules")
