"""The unmodified run launcher, configured by the Helm values, runs the real jobs in pods."""

import pytest

from cath_dagster.cath import LOCATION
from cath_dagster.core.spec import load_specs
from tests.kubernetes.conftest import Platform
from tests.stack import ROWS, TERMINATE, add_entries

pytestmark = [pytest.mark.daemon, pytest.mark.kubernetes]


def test_every_job_runs_in_a_pod_of_its_own_and_ends_as_a_complete_job(platform: Platform) -> None:
    add_entries(platform.service, 100)
    weekly = {"dagster/partition": "2026-03-02"}

    runs = {spec.name: platform.launch(spec.name, tags=weekly if spec.partitioned else None) for spec in load_specs(LOCATION)}

    for job, run_id in runs.items():
        assert platform.ended(run_id) == "SUCCESS", f"{job}: {platform.log(run_id)}"
        platform.wait(lambda: platform.condition(run_id) != "", "the Job did not end")
        assert platform.condition(run_id) == "Complete"
        assert len(platform.pods(run_id)) == 1
    assert platform.service.count("ingestion_log") == 0
