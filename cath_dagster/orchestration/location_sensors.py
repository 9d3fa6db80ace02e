"""The sensors that a location has for all its jobs: start-up, dependencies, and jobs that have another name now.

Each is there only where a job asks for it.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.dependencies import look, read_told
from cath_dagster.orchestration.holds import why_held
from cath_dagster.orchestration.internals.instigators import RemoteRepositoryOrigin
from cath_dagster.orchestration.jobs import Job
from cath_dagster.orchestration.schedules import overlap
from cath_dagster.orchestration.states import carry_over, former_names, is_running, read_states
from cath_dagster.orchestration.stopped import OFF, is_scheduling, sensor_status, why_stopped

STARTUP, DEPENDENCIES, RENAMED = "startup", "dependencies", "renamed_jobs"
DEPLOYMENT, IMAGE = "CATH_DAGSTER_DEPLOYMENT", "DAGSTER_CURRENT_IMAGE"
"""What names a deployment, and what Dagster's chart says of a code server's image, tag included."""
SECONDS = 30
"""Between two looks: what waits for another job waits for minutes, and a deployment takes longer."""
STARTED_AT = datetime.now(UTC)
"""When this code server began, which stands for a deployment that has no name."""

Jobs = Mapping[str, tuple[JobSpec, Job]]
Evaluate = Callable[[dg.SensorEvaluationContext], Sequence[dg.RunRequest] | dg.SkipReason]


def location_sensor_names(specs: Iterable[JobSpec]) -> frozenset[str]:
    """Return which of these sensors the location of the jobs has."""
    needed = {
        name
        for spec in specs
        for name, is_needed in (
            (STARTUP, spec.run_on_startup),
            (DEPENDENCIES, _is_launched_after(spec)),
            (RENAMED, bool(former_names(spec))),
        )
        if is_needed
    }
    return frozenset(needed)


def build_location_sensors(jobs: Iterable[tuple[JobSpec, Job]]) -> list[dg.SensorDefinition]:
    """Return the sensors that a location's jobs need beside their own."""
    by_name = {spec.name: (spec, job) for spec, job in jobs}
    specs = [spec for spec, _ in by_name.values()]
    names = location_sensor_names(specs)
    build = {STARTUP: _build_startup, DEPENDENCIES: _build_dependencies, RENAMED: _build_renamed}
    return [build[name](by_name) for name in sorted(names)]


def _is_launched_after(spec: JobSpec) -> bool:
    """Return whether a job needs somebody to launch it; one at an interval looks for itself whether it may."""
    return bool(spec.after) and spec.interval is None


def _build_startup(jobs: Jobs) -> dg.SensorDefinition:
    chosen = {name: each for name, each in jobs.items() if each[0].run_on_startup}
    location = _location(chosen)

    def evaluate(context: dg.SensorEvaluationContext) -> Sequence[dg.RunRequest] | dg.SkipReason:
        if stopped := why_stopped(location):
            return dg.SkipReason(stopped)
        deployment, begun = deployment_of(), read_told(context.cursor)
        states, now, requests = read_states(context.instance), datetime.now(UTC).replace(microsecond=0), []
        for name, (spec, _) in chosen.items():
            if begun.get(name) == deployment or _is_kept(context.instance, spec):
                continue
            begun[name] = deployment
            # Whoever has stopped a job does not want it at a deployment either.
            if is_running(states, spec):
                requests.append(_request(spec, now, deployment))
        context.update_cursor(json.dumps(begun))
        return requests or dg.SkipReason(f"every job has had its start in deployment {deployment}")

    description = f"Runs once for each deployment ({DEPLOYMENT}): {', '.join(sorted(chosen))}."
    return _sensor(STARTUP, chosen, evaluate, description)


def _is_kept(instance: dg.DagsterInstance, spec: JobSpec) -> bool:
    """Return whether a job cannot start now, and may later: a run of it goes on, or somebody holds it."""
    return bool(overlap(instance, spec, ()) or why_held(instance, spec))


def _request(spec: JobSpec, now: datetime, deployment: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{spec.key} in {deployment}",
        job_name=spec.name,
        run_config={"as_of": now.isoformat()},
        partition_key=spec.partitions.default(now) if spec.partitions is not None else None,
    )


def deployment_of() -> str:
    """Return the deployment's name, in the chart the image's, else one for the time for which this code server runs."""
    environ = MountedEnvironment()
    return (
        environ.get(DEPLOYMENT)
        or environ.get(IMAGE)
        or f"since {STARTED_AT.isoformat(timespec='seconds')} ({os.getpid()})"
    )


def _build_dependencies(jobs: Jobs) -> dg.SensorDefinition:
    chosen = {name: each for name, each in jobs.items() if _is_launched_after(each[0])}
    location = _location(chosen)

    def evaluate(context: dg.SensorEvaluationContext) -> Sequence[dg.RunRequest] | dg.SkipReason:
        if stopped := why_stopped(location):
            return dg.SkipReason(stopped)
        specs = [spec for spec, _ in chosen.values() if not _is_kept(context.instance, spec)]
        noted = read_told(context.cursor)
        told = dict(noted)
        found = list(look(context.instance, specs, told, datetime.now(UTC).replace(microsecond=0)))
        requests = [each for each in found if isinstance(each, dg.RunRequest)]
        said = [each for each in found if isinstance(each, str)]
        # Dagster takes either: what is to be said is said by the next look.
        context.update_cursor(json.dumps(noted if requests else told))
        return requests or dg.SkipReason("; ".join(said) or "nothing has become possible")

    after = "; ".join(f"{spec.name} after {', '.join(spec.after)}" for spec, _ in chosen.values())
    return _sensor(DEPENDENCIES, chosen, evaluate, f"Launches what comes after other jobs: {after}.")


def _build_renamed(jobs: Jobs) -> dg.SensorDefinition:
    specs = [spec for spec, _ in jobs.values() if former_names(spec)]

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if not is_scheduling():
            return dg.SkipReason(OFF)
        origin, repository = context.code_location_origin, context.repository_name
        if origin is None or repository is None:
            return dg.SkipReason("nobody says in which code location this is")
        carried = carry_over(context.instance, specs, RemoteRepositoryOrigin(origin, repository), datetime.now(UTC))
        return dg.SkipReason("; ".join(carried) or "nothing is to be carried over")

    return dg.SensorDefinition(
        name=RENAMED,
        evaluation_fn=evaluate,
        # Until it has looked, what was stopped is shown as running, though its ticks do nothing.
        minimum_interval_seconds=5,
        # It launches nothing, and what it keeps from being started counts on every cluster.
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Keeps what operators said of jobs that had another name: {', '.join(spec.name for spec in specs)}.",
    )


def _sensor(name: str, jobs: Jobs, evaluate: Evaluate, description: str) -> dg.SensorDefinition:
    return dg.SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        jobs=[job for _, job in jobs.values()],
        minimum_interval_seconds=SECONDS,
        default_status=sensor_status(_location(jobs)),
        description=description,
    )


def _location(jobs: Jobs) -> CodeLocation:
    return next(spec.location for spec, _ in jobs.values())
