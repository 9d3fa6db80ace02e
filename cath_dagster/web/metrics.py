"""Jobs and their totals as Prometheus reads them, made anew from the database each time it asks."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cath_dagster.web import views
from cath_dagster.web.console import Console

CONTENT_TYPE = CONTENT_TYPE_LATEST
LABELS = ("location", "job")
GAUGES = {
    "enabled": ("1 where the job's schedule runs; nothing of a job without one", "enabled"),
    "held": ("1 while the job is held", "hold"),
    "running": ("1 while a run of the job is queued or going", "running_run_id"),
    "last_run_timestamp_seconds": ("When the last run began", "last_run_at"),
    "next_run_timestamp_seconds": ("When the next run is due", "next_run_at"),
}
COUNTERS = {
    "runs": ("Runs that ended", "total_runs"),
    "failures": ("Runs that failed or went beyond their time-out", "total_failures"),
}
STATES = ("success", "failed", "timeout", "refused", "canceled")


class _Jobs(Collector):
    def __init__(self, jobs: views.Jobs, *, is_scheduling: bool) -> None:
        self._jobs = jobs
        self._is_scheduling = is_scheduling

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "cath_dagster_scheduling", "0 where SCHEDULER_ENABLED stops every tick", value=int(self._is_scheduling)
        )
        for name, (says, field) in GAUGES.items():
            gauge = GaugeMetricFamily(f"cath_dagster_job_{name}", says, labels=LABELS)
            for job in self._jobs:
                if (value := _number(job[field], name)) is not None:
                    gauge.add_metric([job["location"], job["name"]], value)
            yield gauge
        for name, (says, field) in COUNTERS.items():
            counter = CounterMetricFamily(f"cath_dagster_job_{name}", says, labels=LABELS)
            for job in self._jobs:
                counter.add_metric([job["location"], job["name"]], job[field])
            yield counter
        yield self._durations()
        yield self._states()

    def _durations(self) -> Metric:
        gauge = GaugeMetricFamily("cath_dagster_job_last_duration_seconds", "How long the last run took", labels=LABELS)
        for job in self._jobs:
            if job["last_duration_ms"] is not None:
                gauge.add_metric([job["location"], job["name"]], job["last_duration_ms"] / 1_000)
        return gauge

    def _states(self) -> Metric:
        gauge = GaugeMetricFamily(
            "cath_dagster_job_last_status", "1 for how the last run ended", labels=(*LABELS, "status")
        )
        for job in self._jobs:
            for state in STATES if job["last_status"] else ():
                gauge.add_metric([job["location"], job["name"], state], int(job["last_status"] == state))
        return gauge


def render_metrics(console: Console, locations: Sequence[str]) -> bytes:
    """Return the jobs of these locations in Prometheus' text format."""
    with console.reader.connect() as connection:
        jobs = views.list_jobs(console, connection, locations)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Jobs(jobs, is_scheduling=console.settings.is_scheduling))
    return generate_latest(registry)


def _number(value: Any, name: str) -> float | None:
    if isinstance(value, datetime):
        return value.timestamp()
    if name in {"held", "running"}:
        return float(value is not None)
    return None if value is None else float(value)
