"""What a run sends as telemetry, received on a real socket."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.instruments import (
    CHECK_FAILED,
    CHECK_VALUE,
    COUNTERS,
    INSTRUMENTS,
    LAST_SUCCESS,
    Observed,
    measure_result,
)
from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.adapters.recorder import MAX_BATCH_SPANS
from cath_dagster.adapters.telemetry import observed
from cath_dagster.cath import CATH
from cath_dagster.checktick import CHECKTICK
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.core import telemetry
from cath_dagster.core.model.check import CheckResult, Verdict
from cath_dagster.core.model.outcome import COUNTS, Outcome, RunResult, Status
from cath_dagster.core.model.ticks import longest_gap
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import JobSpec, load_specs
from tests.support.collector import KEY, Collector, Mood, collecting, plain
from tests.support.service import Service

SPECS = {spec.name: spec for spec in load_specs(CATH)}
CLEAR_AUDIT: JobSpec = SPECS["clear_audit"]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as listening:
        yield listening


def run(service: Service, environ: dict[str, str], job: str = "clear_audit", **config: Any) -> RunResult:
    """Run a job in this process, observed as the environment says."""
    run_id = str(uuid.uuid4())
    whole = {**service.environ, **environ}
    with observed(SPECS[job], run_id, service.reporter, whole) as reporter:
        return execute(
            SPECS[job],
            {"as_of": service.as_of, **config},
            run_id=run_id,
            now=datetime.now(UTC) + timedelta(days=3_650),
            backends=EnvironmentBackends("CATH", whole),
            reporter=reporter,
        )


def add_entries(service: Service, count: int, days: float = 91) -> None:
    service.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), %s, 'SNL', '1', 'SUCCESS' FROM generate_series(1, %s)",
        (service.days_ago(days), count),
    )


def root(collector: Collector) -> Span:
    (span,) = [span for span in collector.spans if span.name.startswith("cath/")]
    return span


def complaints(service: Service) -> list[str]:
    return [line for line in service.reporter.lines if "telemetry" in line]


def test_a_run_is_one_trace_whose_id_is_the_runs(service: Service, collector: Collector) -> None:
    result = run(service, collector.otlp)

    assert {span.trace_id.hex() for span in collector.spans} == {uuid.UUID(result.run_id).hex}
    assert result.trace_id == uuid.UUID(result.run_id).hex


def test_the_trace_has_spans_for_counting_and_for_the_batches_of_each_table(
    service: Service, collector: Collector
) -> None:
    add_entries(service, 40)

    run(service, collector.otlp)

    tables = {"notification_audit_log", "audit_log", "ingestion_log"}
    assert {plain(span.attributes)["target"] for span in collector.named("count")} == tables
    purges = {plain(span.attributes)["target"]: span for span in collector.named("batches")}
    assert set(purges) == tables
    told = plain(purges["ingestion_log"].attributes)
    assert {name: told[name] for name in ("changed", "pace", "rule")} == {
        "changed": 40,
        "pace": "bulk",
        "rule": "ingestion_log rows older than 90 days",
    }
    assert {span.parent_span_id for span in [*collector.named("count"), *purges.values()]} == {root(collector).span_id}
    assert {span.parent_span_id for span in collector.named("batch")} == {purges["ingestion_log"].span_id}


def test_the_trace_has_a_span_for_the_files_that_are_deleted(service: Service, collector: Collector) -> None:
    artefact = service.add_artefact(display_to=service.days_ago(1), is_flat_file=True)
    service.add_file(f"artefact/{artefact}")

    run(service, collector.otlp, "expired_artefacts", allow_large=True)

    (span,) = collector.named("outbox")
    assert plain(span.attributes)["deleted"] == 1


def test_the_trace_has_a_span_for_the_messages_that_are_sent(service: Service, collector: Collector) -> None:
    service.add_user("CFT_IDAM", last_signed_in_date=service.days_ago(120))

    run(service, collector.otlp, "inactive_verification")

    (span,) = collector.named("notifications")
    assert plain(span.attributes)["notified"] == 1


def test_the_runs_span_tells_how_it_ended(service: Service, collector: Collector) -> None:
    add_entries(service, 3)

    result = run(service, collector.otlp, max_rows=2)

    told = plain(root(collector).attributes)
    assert told["job"] == "clear_audit"
    assert told["location"] == "cath"
    assert told["run_id"] == result.run_id
    assert told["status"] == "success"
    outcomes = {plain(event.attributes)["target"]: plain(event.attributes) for event in root(collector).events}
    assert (outcomes["ingestion_log"]["deleted"], outcomes["ingestion_log"]["skipped"]) == (2, 1)


def test_the_span_of_a_run_that_failed_has_its_error(service: Service, collector: Collector) -> None:
    service.environ.pop("CATH_BLOB_URL")

    result = run(service, collector.otlp, "expired_artefacts")

    assert root(collector).status.code == SpanStatus.STATUS_CODE_ERROR
    assert root(collector).status.message == result.error
    assert collector.value("run.duration", status="failed") == 1


def test_a_run_goes_on_with_the_trace_it_is_started_in(service: Service, collector: Collector) -> None:
    result = run(service, {**collector.otlp, "TRACEPARENT": f"00-{TRACE}-{PARENT}-01"})

    assert root(collector).trace_id.hex() == TRACE
    assert root(collector).parent_span_id.hex() == PARENT
    assert result.trace_id == TRACE


def test_the_metrics_have_what_a_run_did(service: Service, collector: Collector) -> None:
    add_entries(service, 40)
    add_entries(service, 41, days=3)
    before = datetime.now(UTC).timestamp()

    run(service, collector.otlp)

    assert collector.value("matched", target="ingestion_log", job="clear_audit", location="cath") == 40
    assert collector.value("deleted", target="ingestion_log") == 40
    assert collector.value("duty", target="ingestion_log") == 1
    assert collector.value("oldest_row.age", target="ingestion_log") == timedelta(days=3).total_seconds()
    assert collector.value("last_success.timestamp", job="clear_audit") >= before
    assert collector.value("schedule.interval", job="clear_audit") == timedelta(days=1).total_seconds()
    assert collector.value("run.duration", status="success") == 1
    assert collector.value("batch.duration", target="ingestion_log") >= 1


def test_the_duty_of_a_polite_purge_is_what_it_came_to(service: Service, collector: Collector) -> None:
    add_entries(service, 400)

    run(service, collector.otlp, pace="polite", allow_large=True)

    assert 0 < collector.value("duty", target="ingestion_log") <= 0.6


def test_the_metrics_have_what_was_archived_and_who_was_notified(service: Service, collector: Collector) -> None:
    service.add_artefact(display_to=service.days_ago(1))
    service.add_user("CFT_IDAM", last_signed_in_date=service.days_ago(120))

    run(service, collector.otlp, "expired_artefacts", allow_large=True)
    run(service, collector.otlp, "inactive_verification")

    assert collector.value("archived", target="artefact") == 1
    assert collector.value("notified", target="mail") == 1


def test_every_metric_that_is_sent_is_one_of_those_listed(service: Service, collector: Collector) -> None:
    add_entries(service, 1)

    run(service, collector.otlp)

    units = {instrument.name: instrument.unit for instrument in INSTRUMENTS}
    assert {metric.name: metric.unit for metric in collector.metrics}.items() <= units.items()


def test_every_count_of_an_outcome_is_a_metric() -> None:
    assert set(COUNTERS) == set(COUNTS) - {"restored"}


def test_the_steps_of_a_run_share_a_trace_and_no_series(service: Service, collector: Collector) -> None:
    spec = next(spec for spec in load_specs(CHECKTICK) if spec.steps)
    for step in spec.steps:
        result = RunResult(
            location=spec.location.name, job=spec.name, run_id="run-1", dry_run=False, as_of=service.as_of,
            status=Status.SUCCESS, outcomes=(Outcome(target="mail", matched=1),),
        )  # fmt: skip
        with observed(spec, "run-1", service.reporter, collector.otlp, step=step.name) as reporter:
            reporter.ended(result)

    names = [step.name for step in spec.steps]
    assert len(names) > 1
    assert [span.name for span in collector.spans] == [f"{spec.key}.{name}" for name in names]
    assert len({span.trace_id for span in collector.spans}) == 1
    assert collector.instances == {f"run-1/{name}" for name in names}
    for name in names:
        assert collector.value("last_success.timestamp", step=name) > 0


def test_a_whole_run_of_several_steps_tells_of_the_success_of_each(service: Service) -> None:
    spec = next(spec for spec in load_specs(CHECKTICK) if spec.steps)
    run = Observed(spec, "run-1")
    result = RunResult(
        location=spec.location.name, job=spec.name, run_id="run-1", dry_run=False, as_of=service.as_of,
        status=Status.SUCCESS,
    )  # fmt: skip

    successes = [each for each in measure_result(run, result, service.as_of) if each.instrument is LAST_SUCCESS]

    assert [each.step for each in successes] == [step.name for step in spec.steps]


def test_what_a_run_judged_is_told_by_check_with_its_numbers() -> None:
    spec = next(spec for spec in load_specs(CLOUDMAKE) if spec.name == "mcp_outage_detection")
    (check,) = spec.checks
    verdict = Verdict(passed=False, message="out", details={"open": 2, "since": "today", "known": True, "seconds": 1.5})
    result = RunResult(
        location=spec.location.name, job=spec.name, run_id="run-1", dry_run=False, as_of=None, status=Status.SUCCESS,
        checks=(CheckResult.of(check, verdict),),
    )  # fmt: skip

    told = [each for each in measure_result(Observed(spec, "run-1"), result, datetime.now(UTC)) if each.check]

    assert [(each.instrument, each.check, each.value_name, each.value) for each in told] == [
        (CHECK_FAILED, check.name, None, 1.0),
        (CHECK_VALUE, check.name, "open", 2.0),
        (CHECK_VALUE, check.name, "seconds", 1.5),
    ]
    assert told[1].attributes == {"target": None, "status": None, "step": None, "check": check.name, "value": "open"}


def test_a_dry_run_has_a_trace_and_no_metrics(service: Service, collector: Collector) -> None:
    add_entries(service, 3)

    run(service, collector.otlp, dry_run=True)

    assert plain(root(collector).attributes)["dry_run"] is True
    assert [metric.name for metric in collector.metrics] == []


def test_a_run_that_failed_tells_of_no_success(service: Service, collector: Collector) -> None:
    service.environ.pop("CATH_BLOB_URL")

    run(service, collector.otlp, "expired_artefacts")

    assert "cath_dagster.last_success.timestamp" not in {metric.name for metric in collector.metrics}


def test_what_a_run_says_is_sent_as_log_records_of_its_trace(service: Service, collector: Collector) -> None:
    result = run(service, collector.otlp)

    said = {record.body.string_value: record for record in collector.logs}
    assert set(service.reporter.lines) == set(said)
    assert {record.trace_id.hex() for record in said.values()} == {result.trace_id}
    assert {plain(record.attributes)["run_id"] for record in said.values()} == {result.run_id}


def test_an_interrupted_run_says_so(service: Service, collector: Collector) -> None:
    def interrupt() -> None:
        with observed(CLEAR_AUDIT, "run-1", service.reporter, collector.otlp), telemetry.span("batches", target="t"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()

    assert plain(root(collector).attributes)["status"] == "interrupted"
    assert [span.status.message for span in collector.named("batches")] == ["KeyboardInterrupt"]
    assert collector.value("run.duration", status="interrupted") == 1


def test_of_many_batches_only_some_are_spans_and_all_are_counted(service: Service, collector: Collector) -> None:
    with (
        observed(CLEAR_AUDIT, "run-1", service.reporter, collector.otlp),
        telemetry.span("batches", target="entry"),
    ):
        for number in range(1_000):
            # Each slower than all before: the worst that can happen.
            telemetry.batch(0.001 * number, changed=5)

    assert len(collector.named("batch")) == MAX_BATCH_SPANS
    assert collector.value("batch.duration", target="entry") == 1_000


def test_the_slowest_batch_and_one_that_timed_out_have_spans(service: Service, collector: Collector) -> None:
    with (
        observed(CLEAR_AUDIT, "run-1", service.reporter, collector.otlp),
        telemetry.span("batches", target="entry"),
    ):
        for seconds in (0.5, 0.1, 0.9, 0.2):
            telemetry.batch(seconds, changed=5)
        telemetry.batch(0.3, changed=0, timed_out=True)

    spans = collector.named("batch")
    took = [(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 for span in spans]
    assert took == pytest.approx([0.5, 0.9, 0.3])
    assert [plain(span.attributes)["timed_out"] for span in spans] == [False, False, True]


def test_nothing_personal_is_sent(service: Service, collector: Collector) -> None:
    service.add_user("CFT_IDAM", last_signed_in_date=service.days_ago(120), email="jane.roe@example.com")
    service.add_user("PI_AAD", last_signed_in_date=service.days_ago(355), surname="Roe-Unmistakable")

    run(service, {**collector.otlp, "APPLICATIONINSIGHTS_CONNECTION_STRING": collector.connection_string},
        "inactive_verification")  # fmt: skip

    everything = b"".join(body for _, body in collector.posted)
    assert b"notifications" in everything
    for secret in (b"example.com", b"Unmistakable", service.environ["CATH_NOTIFY_API_KEY"].encode()):
        assert secret not in everything


@pytest.mark.parametrize(
    "variable", ["APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATION_INSIGHTS_CONNECTION_STRING"]
)
def test_application_insights_gets_the_run_as_a_request_with_its_parts(
    service: Service, collector: Collector, variable: str
) -> None:
    add_entries(service, 40)

    result = run(service, {variable: collector.connection_string})

    by_type: dict[str, list[dict[str, Any]]] = {}
    for envelope in collector.envelopes:
        assert envelope["iKey"] == KEY
        by_type.setdefault(envelope["data"]["baseType"], []).append(envelope)
    (request,) = by_type["RequestData"]
    assert request["tags"]["ai.operation.id"] == result.trace_id
    assert request["tags"]["ai.cloud.role"] == "cath-dagster"
    assert request["data"]["baseData"]["name"] == "cath/clear_audit"
    assert request["data"]["baseData"]["success"] is True
    parts = {envelope["data"]["baseData"]["name"] for envelope in by_type["RemoteDependencyData"]}
    assert {"count", "batches", "batch"} <= parts
    deleted = [
        metric["value"]
        for envelope in by_type["MetricData"]
        for metric in envelope["data"]["baseData"]["metrics"]
        if metric["name"] == "cath_dagster.deleted"
    ]
    assert deleted == [40]
    lines = {envelope["data"]["baseData"]["message"] for envelope in by_type["MessageData"]}
    assert set(service.reporter.lines) <= lines


def test_microsofts_exporter_tells_nobody_else(service: Service, collector: Collector) -> None:
    """Its own statistics, to an address of Microsoft's, would go where this variable says."""
    with collecting() as elsewhere:
        environ = {"APPLICATIONINSIGHTS_CONNECTION_STRING": collector.connection_string}
        statistics = "APPLICATION_INSIGHTS_STATS_CONNECTION_STRING"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(statistics, elsewhere.connection_string)
            run(service, environ)

    assert collector.envelopes
    assert elsewhere.posted == []


def test_both_destinations_get_all(service: Service, collector: Collector) -> None:
    run(service, {**collector.otlp, "APPLICATIONINSIGHTS_CONNECTION_STRING": collector.connection_string})

    assert {path for path, _ in collector.posted} == {"/v1/traces", "/v1/metrics", "/v1/logs", "/v2.1/track"}


def test_one_destination_that_fails_takes_nothing_from_the_other(service: Service, collector: Collector) -> None:
    with collecting(Mood.FAILS) as failing:
        run(service, {**failing.otlp, "APPLICATIONINSIGHTS_CONNECTION_STRING": collector.connection_string})

    assert "RequestData" in {envelope["data"]["baseType"] for envelope in collector.envelopes}
    assert len(complaints(service)) == 1


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"APPLICATIONINSIGHTS_CONNECTION_STRING": "hunter2"}, "APPLICATIONINSIGHTS_CONNECTION_STRING"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "'grpc'"),
    ],
    ids=["connection string", "protocol"],
)
def test_a_setting_that_cannot_be_used_is_told_and_costs_no_run(
    service: Service, environ: dict[str, str], says: str
) -> None:
    add_entries(service, 3)

    result = run(service, environ)

    assert result.status == "success"
    assert result.trace_id is None
    (line,) = complaints(service)
    assert says in line
    assert "hunter2" not in line


def test_a_variable_of_the_library_that_cannot_be_used_costs_no_run(
    service: Service, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")

    result = run(service, collector.otlp)

    assert result.status == "success"
    (line,) = complaints(service)
    assert "refuses its settings" in line


def test_the_connection_string_may_come_from_a_file(
    service: Service, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text(f"{collector.connection_string}\n")
    monkeypatch.setenv("APPLICATIONINSIGHTS_CONNECTION_STRING_FILE", str(tmp_path / "secret"))

    with observed(CLEAR_AUDIT, "run-1", service.reporter, MountedEnvironment()):
        pass

    assert collector.envelopes


def test_the_switch_of_opentelemetry_turns_all_off(service: Service, collector: Collector) -> None:
    result = run(service, {**collector.otlp, "OTEL_SDK_DISABLED": "true"})

    assert result.trace_id is None
    assert collector.posted == []
    assert complaints(service) == []


def test_without_a_destination_nothing_is_told_anywhere(service: Service) -> None:
    result = run(service, {})

    assert result.trace_id is None
    assert json.loads(json.dumps(result.as_json()))["trace_id"] is None


@pytest.mark.parametrize(
    ("cron", "gap"),
    [
        ("*/15 * * * *", timedelta(minutes=15)),
        ("0 1 * * *", timedelta(days=1)),
        ("0 1 * * 1-5", timedelta(days=3)),
        ("0 0 * * 1", timedelta(weeks=1)),
    ],
)
def test_the_longest_gap_of_a_schedule_is_found(cron: str, gap: timedelta) -> None:
    assert longest_gap(cron, "UTC", datetime(2026, 11, 18, tzinfo=UTC), among=10) == gap
