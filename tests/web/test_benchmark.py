"""The console's benchmark measures what it says: a hundred jobs, with the runs of a long history and without."""

from benchmarks.console import LIST, OVERVIEW, PATHS
from benchmarks.console_history import add_runs
from benchmarks.console_process import HEADERS, JOBS, create_bench_app, hundred_specs
from tests.web.world import World, client_of


def test_every_path_shows_a_hundred_jobs_with_the_runs_that_were_added(world: World) -> None:
    add_runs(world.instance.url, list(hundred_specs()), 2 * JOBS)
    client = client_of(create_bench_app(world.console), "127.0.0.1")

    answers = {path: client.get(path, headers=HEADERS) for path in PATHS}

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(PATHS, 200)
    assert [job["total_runs"] for job in answers[LIST].json()["items"]] == [10_000] * JOBS
    assert answers[OVERVIEW].text.count('<th scope="row">') == JOBS
    assert len(client.get("/api/v1/runs?limit=500", headers=HEADERS).json()["items"]) == 2 * JOBS
    assert len(client.get("/api/v1/jobs/cath/clear_audit", headers=HEADERS).json()["recent_runs"]) == 2
