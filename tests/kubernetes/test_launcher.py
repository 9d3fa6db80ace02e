"""The unmodified run launcher, configured by the Helm values, runs the real jobs in pods."""

import json

import pytest

from cath_dagster.cath import CATH
from cath_dagster.core.run.spec import load_specs
from tests.kubernetes.api import Fault
from tests.kubernetes.conftest import Platform
from tests.support.stack import ROWS, TERMINATE, add_entries

pytestmark = [pytest.mark.daemon, pytest.mark.kubernetes, pytest.mark.stack, pytest.mark.xdist_group("kubernetes")]

DEADLINE_SECONDS = 90
"""Longer than a purge takes to be under way; a real cluster waits for it."""


def test_every_job_runs_in_a_pod_of_its_own_and_ends_as_a_complete_job(platform: Platform) -> None:
    add_entries(platform.service, 100)
    weekly = {"dagster/partition": "2026-03-02"}

    runs = {
        spec.name: platform.launch(spec.name, tags=weekly if spec.partitions else None) for spec in load_specs(CATH)
    }

    ended = {job: platform.ended(run_id) for job, run_id in runs.items()}
    assert ended == dict.fromkeys(runs, "SUCCESS")
    assert {platform.job_ended(run_id) for run_id in runs.values()} == {"Complete"}
    assert {job: len(platform.pods(run_id)) for job, run_id in runs.items()} == dict.fromkeys(runs, 1)
    assert platform.service.count("ingestion_log") == 0
    check_pod(platform, runs["clear_audit"])


def check_pod(platform: Platform, run_id: str) -> None:
    """Assert that a run's pod has what the values say, and the Secrets of its own service alone."""
    (pod,), job = platform.pods(run_id), platform.job(run_id)
    assert job is not None
    (container,) = pod.spec.containers
    assert (job.spec.backoff_limit, job.spec.active_deadline_seconds) == (0, 18_000)
    assert job.spec.ttl_seconds_after_finished == 259_200
    assert pod.spec.termination_grace_period_seconds == 90
    assert pod.spec.security_context.run_as_non_root is True
    assert container.security_context.read_only_root_filesystem is True
    assert container.security_context.capabilities.drop == ["ALL"]
    assert container.resources.limits == {"memory": "1Gi"}
    assert [source.secret_ref.name for source in container.env_from if source.secret_ref] == ["cath-dagster-cath"]
    assert {one.value_from.secret_key_ref.name for one in container.env if one.value_from} == {
        "cath-dagster-postgresql"
    }
    assert [(mount.name, mount.mount_path) for mount in container.volume_mounts] == [("tmp", "/tmp")]
    assert pod.metadata.annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_a_second_launch_of_a_job_has_no_pod_before_the_first_has_ended(platform: Platform) -> None:
    first = platform.purge_underway()
    second, other = platform.launch(), platform.launch("subscriptions")

    assert platform.ended(other) == "SUCCESS"
    assert (platform.status(second), platform.pods(second)) == ("QUEUED", [])

    platform.let_go()
    assert (platform.ended(first), platform.ended(second)) == ("SUCCESS", "SUCCESS")


def test_terminating_a_run_ends_its_pod_and_its_query_and_removes_its_job(platform: Platform) -> None:
    run_id = platform.purge_underway()

    assert platform.ask(TERMINATE, id=run_id)["__typename"] == "TerminateRunSuccess"

    assert platform.ended(run_id) == "CANCELED"
    platform.wait(lambda: platform.sessions() == 0, "the query runs on")
    assert platform.job(run_id) is None
    platform.wait(lambda: platform.pods(run_id) == [], "the pod is still there")
    left = platform.service.count("ingestion_log")
    assert left == ROWS - platform.deleted_by(run_id)
    assert left > 0


def test_a_run_whose_pod_was_killed_is_launched_again_and_nothing_is_deleted_twice(platform: Platform) -> None:
    run_id = platform.purge_underway()

    platform.kill_pod(run_id)

    platform.let_go()
    assert platform.ended(run_id) == "FAILURE"
    assert platform.job_ended(run_id) == "Failed BackoffLimitExceeded"
    again = platform.relaunched(run_id)
    assert platform.ended(again) == "SUCCESS", platform.log(again)
    assert platform.service.count("ingestion_log") == 0
    assert platform.deleted_by(run_id, again) == ROWS


def test_a_refused_purge_is_a_failed_job_and_neither_dagster_nor_kubernetes_repeats_it(platform: Platform) -> None:
    add_entries(platform.service, 10_001)

    run_id = platform.launch()

    assert platform.ended(run_id) == "FAILURE"
    assert platform.job_ended(run_id) == "Failed BackoffLimitExceeded"
    (pod,) = platform.pods(run_id)
    assert pod.status.container_statuses[0].state.terminated.exit_code != 0
    assert not platform.will_be_relaunched(run_id)
    assert platform.service.count("ingestion_log") == 10_001


def test_a_run_whose_image_cannot_be_pulled_fails_in_time_with_the_reason(platform: Platform) -> None:
    add_entries(platform.service, 100)
    missing = "registry.example.org/cath-dagster:missing"
    config = json.dumps({"container_config": {"image": missing}})

    run_id = platform.launch(tags={"dagster-k8s/config": config, "dagster/max_retries": "0"})

    platform.wait(lambda: platform.waits_for_image(run_id), "the pod does not wait for its image")
    platform.age_launch(run_id, 300)
    assert platform.ended(run_id) == "FAILURE"
    log = platform.log(run_id)
    assert "longer than 300 seconds to start" in log
    assert missing in log
    assert platform.service.count("ingestion_log") == 100
    # Once the image is there the pod starts after all. Its run was given up, and it leaves the data alone.
    platform.simulator.cluster.images.add(missing)
    assert platform.job_ended(run_id) == "Complete"
    assert platform.service.count("ingestion_log") == 100


def test_a_run_that_takes_too_long_is_ended_and_not_worked_off_again(platform: Platform) -> None:
    platform.add_held_entries()

    run_id = platform.launch(tags={"dagster/max_runtime": "3"})

    assert platform.ended(run_id) == "FAILURE"
    assert "maximum runtime of 3 seconds" in platform.log(run_id)
    platform.wait(lambda: platform.sessions() == 0, "the query runs on")
    left = platform.service.count("ingestion_log")
    assert left == ROWS - platform.deleted_by(run_id)
    # Dagster takes it for a lost one, and launches it again.
    again = platform.relaunched(run_id)
    assert platform.ended(again) == "FAILURE"
    assert "was ended after the 0:00:03 that a run of this job may take" in platform.log(again)
    assert not platform.will_be_relaunched(again)
    assert platform.service.count("ingestion_log") == left > 0


def test_kubernetes_ends_a_run_at_its_own_deadline_without_the_daemon(platform: Platform) -> None:
    platform.add_held_entries()
    config = json.dumps({"job_spec_config": {"active_deadline_seconds": DEADLINE_SECONDS}})

    run_id = platform.launch(tags={"dagster-k8s/config": config, "dagster/max_retries": "0"})
    platform.wait(lambda: platform.service.count("ingestion_log") < ROWS, "the purge never got under way")
    platform.stop_daemon()
    platform.pass_time(DEADLINE_SECONDS)

    assert platform.job_ended(run_id) == "Failed DeadlineExceeded"
    platform.wait(lambda: platform.sessions() == 0, "the query runs on")
    platform.start_daemon()
    assert platform.ended(run_id) == "FAILURE"
    assert platform.service.count("ingestion_log") == ROWS - platform.deleted_by(run_id)


def test_a_restarted_daemon_finds_a_run_as_it_left_it_and_goes_on_with_the_queue(platform: Platform) -> None:
    first = platform.purge_underway()
    platform.stop_daemon()
    second = platform.launch()
    platform.let_go()

    platform.wait(lambda: platform.status_kept(first) == "SUCCESS", "the run needs the daemon")
    assert (platform.status(second), platform.pods(second)) == ("QUEUED", [])

    platform.start_daemon()
    assert platform.ended(second) == "SUCCESS"
    assert platform.children(first) == []


def test_a_run_that_the_api_refuses_to_start_is_launched_again_once(platform: Platform) -> None:
    refused = {"clear_audit": 409, "subscriptions": 429}
    platform.simulator.faults += [Fault("POST", "jobs", status, job) for job, status in refused.items()]

    runs = [platform.launch(job) for job in refused]

    for run_id in runs:
        assert platform.ended(run_id) == "FAILURE"
        assert platform.pods(run_id) == []
        platform.relaunched(run_id)
    assert [platform.ended(platform.relaunched(run_id)) for run_id in runs] == ["SUCCESS", "SUCCESS"]


def test_an_api_that_fails_for_a_moment_delays_a_launch_and_starts_one_job(platform: Platform) -> None:
    platform.simulator.faults.append(Fault("POST", "jobs", 500, "clear_audit"))
    # The Job was made, and only the answer lost.
    platform.simulator.faults.append(Fault("POST", "jobs", 500, "subscriptions", after=True))

    runs = [platform.launch("clear_audit"), platform.launch("subscriptions")]

    assert [platform.ended(run_id) for run_id in runs] == ["SUCCESS", "SUCCESS"]
    platform.wait(lambda: [platform.asked("POST", run_id) for run_id in runs] == [2, 2], "no second try")
    assert [len(platform.pods(run_id)) for run_id in runs] == [1, 1]


def test_an_api_that_is_away_for_a_moment_delays_a_launch(platform: Platform) -> None:
    with platform.simulator.unreachable():
        run_id = platform.launch()
        platform.wait(lambda: "Creating Kubernetes run worker job" in platform.log(run_id), "it was not launched")

    assert platform.ended(run_id) == "SUCCESS"


def test_a_run_survives_an_api_that_fails_for_a_moment(platform: Platform) -> None:
    run_id = platform.purge_underway()
    fault = Fault("GET", "jobs", 500, run_id)
    platform.simulator.faults.append(fault)

    platform.wait(lambda: fault.times == 0, "nobody asked for the Job")
    seen = platform.asked("GET", run_id)
    platform.wait(lambda: platform.asked("GET", run_id) > seen, "nobody asked for it again")
    platform.let_go()

    assert platform.ended(run_id) == "SUCCESS"
    assert platform.children(run_id) == []


def test_a_run_that_is_given_up_while_its_pod_works_on_shares_no_row_with_the_next(platform: Platform) -> None:
    run_id = platform.purge_underway()

    # Dagster takes any answer but these for the loss of the worker, and launches the run again.
    platform.simulator.faults.append(Fault("GET", "jobs", 429, run_id))

    again = platform.relaunched(run_id)
    # The first is still at work and holds the lock: the second refuses to begin.
    assert platform.ended(again) == "FAILURE"
    assert "is at work already" in platform.log(again)
    platform.let_go()
    assert platform.job_ended(run_id) == "Complete"
    assert platform.service.count("ingestion_log") == 0
    assert (platform.deleted_by(run_id), platform.deleted_by(again)) == (ROWS, 0)
