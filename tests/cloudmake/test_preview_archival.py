"""Previews past their time are archived, and what only they named is removed at its provider."""

import os
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cath_dagster.cloudmake.jobs.preview_archival import NO_EXPIRED_PREVIEW
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.development.simulators.github import GitHubServer
from cath_dagster.development.simulators.previews import HANG_UP, SILENCE, PreviewProviders
from tests.cloudmake.cloudmake import CloudMake
from tests.support.maintained import outcome

JOB = "preview_archival"


@pytest.fixture
def providers() -> Iterator[PreviewProviders]:
    with PreviewProviders() as started:
        yield started


@pytest.fixture
def served(cloudmake: CloudMake, providers: PreviewProviders) -> CloudMake:
    """Return CloudMake with credentials for all providers but GitHub."""
    cloudmake.environ.update(providers.environment())
    return cloudmake


def archive(cloudmake: CloudMake, **config: Any) -> RunResult:
    return cloudmake.run(JOB, **config)


def archived(cloudmake: CloudMake) -> set[uuid.UUID]:
    return {each for (each,) in cloudmake.rows("SELECT id FROM environments WHERE kind = 'archived'")}


def outbox(cloudmake: CloudMake) -> list[tuple[Any, ...]]:
    return cloudmake.rows(
        "SELECT provider, resource_id, settled_as, attempts, last_error FROM maintenance.provider_cleanup"
        " ORDER BY provider, resource_id, cleanup_id"
    )


def add_project(cloudmake: CloudMake) -> uuid.UUID:
    integrations = psycopg.types.json.Jsonb({"neonProjectId": "neon-1", "cloudflare": {"pagesProject": "pages-1"}})
    return cloudmake.add_project(integrations=integrations)


def add_deployment(cloudmake: CloudMake, environment_id: uuid.UUID, deployment: str) -> None:
    project_id = cloudmake.value("SELECT project_id FROM environments WHERE id = %s", environment_id)
    cloudmake.insert(
        "deployments",
        project_id=project_id,
        environment_id=environment_id,
        source_commit_sha="0" * 40,
        status="succeeded",
        provider_ids=psycopg.types.json.Jsonb({"cloudflareDeploymentId": deployment}),
    )


def test_what_a_service_wrote_where_a_name_should_be_names_nothing(
    served: CloudMake, providers: PreviewProviders
) -> None:
    shapes: list[Any] = [5, True, "neon-1", ["neon-1"], [{"neonProjectId": "neon-1"}]]
    shapes += [{"neonProjectId": value} for value in (5, True, None, "", ["neon-1"], {"id": "neon-1"})]
    shapes += [{"neon": "neon-1"}, {"neon": {"projectId": ["neon-1"]}}]
    with GitHubServer() as github:
        github.add_repository("None/3", "preview-x")
        github.add_repository("acme/None", "preview-x")
        served.environ |= {"CLOUDMAKE_GITHUB_API_URL": github.url, "CLOUDMAKE_GITHUB_TOKEN": github.token}
        for number, shape in enumerate(shapes):
            project = served.add_project(integrations=psycopg.types.json.Jsonb(shape))
            served.add_preview(project, neon_branch_id=f"br-{number}")
        for shape in (3, {"github": {"owner": None, "repo": "3"}}, {"github": {"owner": "acme"}}, {"githubRepo": 3}):
            project = served.add_project(integrations=psycopg.types.json.Jsonb(shape))
            served.add_preview(project, name="preview-x", github_environment_id=1)
        config = psycopg.types.json.Jsonb({"fullName": "acme/shop"})
        served.insert("integration_configs", id=uuid.uuid4(), project_id=project, provider="github", config=config)

        result = archive(served)
        writes = github.writes

    assert (providers.asked, writes) == ([], [])
    assert result.status is Status.FAILED
    errors = [error for *_, error in outbox(served)]
    assert sum("names no project at Neon" in error for error in errors) == len(shapes)
    assert sum("has no GitHub repository" in error for error in errors) == 4


def test_archives_previews_strictly_past_their_time_and_nothing_else(cloudmake: CloudMake) -> None:
    second = 1 / 3_600
    due = {cloudmake.add_preview(hours=second), cloudmake.add_preview(hours=10_000)}
    cloudmake.add_preview(hours=0)
    cloudmake.add_preview(hours=-second)
    cloudmake.add_preview(ttl_expires_at=None)
    cloudmake.add_environment(ttl_expires_at=cloudmake.naive_ago(days=1))
    cloudmake.add_preview(kind="archived")
    before = archived(cloudmake)

    result = archive(cloudmake)

    assert result.error is None
    assert archived(cloudmake) - before == due
    done = outcome(result, "environments")
    assert (done.matched, done.updated, done.details["preview_env_active_total"]) == (2, 2, 3)
    assert archive(cloudmake).changed == 0


def test_the_time_is_utc_whatever_the_databases_zone(cloudmake: CloudMake) -> None:
    name = cloudmake.connection.info.dbname
    cloudmake.connection.execute(f"ALTER DATABASE {name} SET timezone = 'America/New_York'")
    due = cloudmake.add_preview(hours=1)
    cloudmake.add_preview(hours=-1)

    archive(cloudmake)

    assert archived(cloudmake) == {due}


def test_a_dry_run_counts_the_same_and_changes_nothing(served: CloudMake, providers: PreviewProviders) -> None:
    preview = served.add_preview(add_project(served), neon_branch_id="br-1")
    providers.branches.add(("neon-1", "br-1"))

    result = archive(served, dry_run=True)

    assert outcome(result, "environments").matched == 1
    assert outcome(result, "environments").details["resources_named"] == 1
    assert outcome(result, "environments").details["sample_ids"] == [str(preview)]
    assert (archived(served), outbox(served), providers.asked, served.audit()) == (set(), [], [], [])


def test_archives_in_batches_and_tells_the_audit_of_each(cloudmake: CloudMake) -> None:
    project = cloudmake.add_project()
    for _ in range(101):
        cloudmake.add_preview(project)

    result = archive(cloudmake, run_id="batches")

    assert outcome(result, "environments").updated == 101
    told = cloudmake.audit()
    assert [action for action, _ in told] == ["preview_archival"] * 2
    assert sorted(changes["archived"] for _, changes in told) == [1, 100]
    assert {each for _, changes in told for each in changes["environment_ids"]} == set(map(str, archived(cloudmake)))
    assert {changes["run_id"] for _, changes in told} == {"batches"}
    assert cloudmake.ledger("batches")["environments"][5] == "success"


def test_stops_at_max_rows_and_says_what_is_left(cloudmake: CloudMake) -> None:
    oldest = cloudmake.add_preview(hours=9)
    cloudmake.add_preview(hours=3)

    result = archive(cloudmake, max_rows=1)

    assert result.status is Status.SUCCESS
    assert archived(cloudmake) == {oldest}
    assert outcome(result, "environments").skipped == 1
    assert "max_rows reached: 1 previews are left" in result.notes[0]


def test_a_locked_preview_is_left_to_the_next_run_which_archives_it(cloudmake: CloudMake) -> None:
    locked, free = cloudmake.add_preview(), cloudmake.add_preview()
    with psycopg.connect(cloudmake.url) as other:
        other.execute("SELECT FROM environments WHERE id = %s FOR UPDATE", [locked])
        result = archive(cloudmake)

    assert result.status is Status.FAILED
    assert "1 previews are locked by somebody else" in (result.error or "")
    assert archived(cloudmake) == {free}
    assert archive(cloudmake).error is None
    assert archived(cloudmake) == {free, locked}


def test_removes_what_a_preview_leaves_at_each_provider(served: CloudMake, providers: PreviewProviders) -> None:
    preview = served.add_preview(add_project(served), neon_branch_id="br-1", postman_environment_id="pm-1")
    add_deployment(served, preview, "dep-1")
    providers.deployments.add(("account-1", "pages-1", "dep-1"))
    providers.branches.add(("neon-1", "br-1"))
    providers.environments.add("pm-1")

    result = archive(served)

    assert result.error is None
    assert sorted(providers.removed) == [
        "/cloudflare/accounts/account-1/pages/projects/pages-1/deployments/dep-1",
        "/neon/projects/neon-1/branches/br-1",
        "/postman/environments/pm-1",
    ]
    assert outcome(result, "provider_cleanup").deleted == 3
    assert [row[2] for row in outbox(served)] == ["removed"] * 3
    assert outcome(archive(served), "provider_cleanup").matched == 0


def test_the_pages_project_follows_from_the_address_where_it_is_not_configured(
    served: CloudMake, providers: PreviewProviders
) -> None:
    preview = served.add_preview(cloudflare_url="https://preview-x.my-pages.pages.dev/")
    add_deployment(served, preview, "dep-1")
    providers.deployments.add(("account-1", "my-pages", "dep-1"))

    assert archive(served).error is None
    assert len(providers.removed) == 1


def test_what_another_environment_names_stays_and_a_shared_one_goes_with_its_last(
    served: CloudMake, providers: PreviewProviders
) -> None:
    project = add_project(served)
    providers.branches |= {("neon-1", "shared"), ("neon-1", "own")}
    served.add_preview(project, neon_branch_id="shared")
    served.add_preview(project, neon_branch_id="own")
    living = served.add_preview(project, hours=-5, neon_branch_id="shared")

    first = archive(served)
    served.connection.execute("UPDATE environments SET ttl_expires_at = '2026-01-01' WHERE id = %s", [living])
    after_first = list(providers.removed)
    archive(served)

    assert first.error is None
    assert after_first == ["/neon/projects/neon-1/branches/own"]
    assert providers.removed[1:] == ["/neon/projects/neon-1/branches/shared"]


def test_what_is_in_use_again_when_its_turn_comes_is_kept(served: CloudMake, providers: PreviewProviders) -> None:
    project = add_project(served)
    del served.environ["CLOUDMAKE_NEON_API_KEY"]
    preview = served.add_preview(project, neon_branch_id="br-1")
    left = archive(served)
    served.connection.execute(
        "UPDATE environments SET kind = 'preview', ttl_expires_at = NULL WHERE id = %s", [preview]
    )
    served.environ.update(providers.environment())

    kept = archive(served)
    served.connection.execute("UPDATE environments SET ttl_expires_at = '2026-01-01' WHERE id = %s", [preview])
    providers.branches.add(("neon-1", "br-1"))
    archive(served)

    assert outcome(left, "provider_cleanup").details["left_at_provider"] == 1
    assert "1 resources are left at neon: CLOUDMAKE_NEON_API_KEY not set" in left.notes
    assert (outcome(kept, "provider_cleanup").kept, providers.asked[:-1]) == (1, [])
    assert [row[2] for row in outbox(served)] == ["kept", "removed"]


def test_what_another_environment_has_come_to_use_since_is_kept(served: CloudMake, providers: PreviewProviders) -> None:
    project = add_project(served)
    del served.environ["CLOUDMAKE_NEON_API_KEY"]
    served.add_preview(project, neon_branch_id="br-1")
    archive(served)
    served.add_preview(project, hours=-5, neon_branch_id="br-1")
    served.environ.update(providers.environment())

    kept = archive(served)

    assert (outcome(kept, "provider_cleanup").kept, providers.asked) == (1, [])


def test_only_a_preview_s_own_github_environment_is_due(cloudmake: CloudMake) -> None:
    project = cloudmake.add_project()
    cloudmake.add_preview(project, name="preview-a", github_environment_id=1)
    cloudmake.add_preview(project, name="feature-b", github_environment_id=2)
    cloudmake.add_preview(project, name="preview-c")

    archive(cloudmake)

    assert [row[:2] for row in outbox(cloudmake)] == [("github", "preview-a")]


def test_a_preview_s_github_environment_goes_and_others_of_the_repository_stay(cloudmake: CloudMake) -> None:
    integrations = psycopg.types.json.Jsonb({"githubRepo": "example/shop"})
    project = cloudmake.add_project(integrations=integrations)
    with GitHubServer() as github:
        github.add_repository("example/shop", "preview-a", "prod", "preview-b")
        cloudmake.environ.update(CLOUDMAKE_GITHUB_API_URL=github.url, CLOUDMAKE_GITHUB_TOKEN=github.token)
        cloudmake.add_preview(project, name="preview-a", github_environment_id=1)
        cloudmake.add_preview(project, name="preview-b", github_environment_id=3, hours=-1)

        result = archive(cloudmake)

        assert result.error is None
        assert github.environments("example/shop") == ["prod", "preview-b"]


def test_a_project_of_two_repositories_loses_no_environment(cloudmake: CloudMake) -> None:
    project = cloudmake.add_project(integrations=psycopg.types.json.Jsonb({"githubRepo": "example/shop"}))
    config = psycopg.types.json.Jsonb({"owner": "example", "repo": "other"})
    cloudmake.insert("integration_configs", project_id=project, provider="github", config=config)
    cloudmake.add_preview(project, name="preview-a", github_environment_id=1)
    with GitHubServer() as github:
        cloudmake.environ.update(CLOUDMAKE_GITHUB_API_URL=github.url, CLOUDMAKE_GITHUB_TOKEN=github.token)

        result = archive(cloudmake)

        assert "has several repositories, example/other, example/shop" in (result.error or "")
        assert github.requests == []


@pytest.mark.parametrize(
    ("fault", "says", "asked"),
    [
        (401, "it refuses our credentials (HTTP 401), 1 were not tried", 1),
        (403, "it refuses our credentials (HTTP 403), 1 were not tried", 1),
        (429, "it asks to slow down (HTTP 429), 1 were not tried", 1),
        (500, "1 x it answered HTTP 500)", 2),
        (HANG_UP, "1 x it cannot be reached, or broke off)", 2),
    ],
)
def test_what_could_not_be_removed_is_said_and_tried_again(
    served: CloudMake, providers: PreviewProviders, fault: int, says: str, asked: int
) -> None:
    project = add_project(served)
    for branch in ("br-1", "br-2"):
        served.add_preview(project, neon_branch_id=branch)
        providers.branches.add(("neon-1", branch))
    providers.faults = [fault]

    failed = archive(served)
    tried = len(providers.asked)
    again = archive(served)

    assert failed.status is Status.FAILED
    assert says.replace(", 1 were", "), 1 were") in (failed.error or "")
    assert "planted" not in str(failed)
    assert tried == asked
    assert again.error is None
    assert [row[2] for row in outbox(served)] == ["removed", "removed"]


def test_a_provider_that_hangs_delays_only_itself(
    served: CloudMake, providers: PreviewProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cath_dagster.adapters.preview_providers.TIMEOUT_SECONDS", 0.3)
    with PreviewProviders(faults=[SILENCE] * 9) as silent:
        served.environ["CLOUDMAKE_NEON_API_URL"] = f"{silent.url}/neon"
        project = add_project(served)
        for number in range(5):
            served.add_preview(project, neon_branch_id=f"br-{number}", postman_environment_id=f"pm-{number}")
            providers.environments.add(f"pm-{number}")

        result = archive(served)

        assert len(providers.removed) == 5
        assert len(silent.asked) == 3
        assert "3 resources at neon could not be removed" in (result.error or "")
        assert "2 were not tried" in (result.error or "")


def test_an_archived_preview_is_not_lost_where_its_project_is_unknown_at_the_provider(served: CloudMake) -> None:
    served.add_preview(neon_branch_id="br-1")

    result = archive(served)

    assert "names no project at Neon in its integrations (neonProjectId)" in (result.error or "")
    assert [row[3] for row in outbox(served)] == [1]


@pytest.mark.parametrize("name", ["..", "."])
def test_a_name_that_leads_to_what_holds_the_resource_is_never_asked_for(
    served: CloudMake, providers: PreviewProviders, name: str
) -> None:
    served.add_preview(add_project(served), neon_branch_id=name, postman_environment_id=name)

    result = archive(served)

    assert f"'{name}' is no name of a resource" in (result.error or "")
    assert providers.asked == []
    assert [row[2] for row in outbox(served)] == [None, None]


def test_that_something_is_gone_is_not_believed_of_a_provider_that_does_not_show_its_project(
    served: CloudMake, providers: PreviewProviders
) -> None:
    providers.hidden |= {"neon-1", "pages-1"}
    providers.branches.add(("neon-1", "br-1"))
    add_deployment(served, served.add_preview(add_project(served), neon_branch_id="br-1"), "deployment-1")

    unknown = archive(served)
    providers.hidden.clear()
    known = archive(served)

    assert "it shows us no project neon-1" in str(unknown.error)
    assert "it shows us no project pages-1" in str(unknown.error)
    assert known.error is None
    assert {(provider, settled) for provider, _, settled, *_ in outbox(served)} == {
        ("neon", "removed"),
        ("cloudflare", "missing"),
    }


def test_a_resource_that_is_gone_already_is_what_was_wanted(served: CloudMake) -> None:
    served.add_preview(add_project(served), neon_branch_id="gone")

    result = archive(served)

    assert result.error is None
    assert outcome(result, "provider_cleanup").details["already_missing"] == 1


def test_force_archives_the_named_previews_before_their_time(cloudmake: CloudMake) -> None:
    named, other = cloudmake.add_preview(hours=-50), cloudmake.add_preview(hours=5)

    result = archive(cloudmake, force=True, environment_ids=f"{named}, {uuid.UUID(int=7)}")

    assert archived(cloudmake) == {named}
    assert result.error == f"there is no environment {uuid.UUID(int=7)}"
    assert archive(cloudmake, force=True).notes[0].startswith("force without environment_ids changes nothing")
    assert other in archived(cloudmake)


def test_force_never_archives_a_core_environment(cloudmake: CloudMake) -> None:
    core, preview = cloudmake.add_environment(), cloudmake.add_preview(hours=-1)

    result = archive(cloudmake, force=True, environment_ids=f"{core},{preview}")

    assert result.status is Status.REFUSED
    assert f"{core}: core environments are never archived" in (result.error or "")
    assert archived(cloudmake) == set()


@pytest.mark.parametrize(
    ("config", "says"),
    [({"environment_ids": "7"}, "7 is no id"), ({"environment_ids": str(uuid.UUID(int=7))}, "without force")],
)
def test_refuses_ids_that_cannot_be_meant(cloudmake: CloudMake, config: dict[str, Any], says: str) -> None:
    result = archive(cloudmake, **config)

    assert result.status is not Status.SUCCESS
    assert says in (result.error or "")


def test_a_database_whose_kind_cannot_say_archived_says_so_by_its_state(cloudmake: CloudMake) -> None:
    cloudmake.connection.execute(
        """
        DROP INDEX idx_environments_expiry;
        ALTER TYPE environment_kind RENAME TO earlier;
        CREATE TYPE environment_kind AS ENUM ('core', 'preview');
        ALTER TABLE environments ALTER kind TYPE environment_kind USING kind::text::environment_kind;
        """
    )
    cloudmake.add_preview()
    refused = archive(cloudmake)
    cloudmake.connection.execute("ALTER TABLE environments ADD state varchar(20) NOT NULL DEFAULT 'active'")

    done = archive(cloudmake)

    assert refused.status is Status.REFUSED
    assert "ALTER TYPE environment_kind ADD VALUE 'archived'" in (refused.error or "")
    assert (done.error, cloudmake.count("environments", "state = 'archived'")) == (None, 1)
    assert archive(cloudmake).changed == 0


def test_both_columns_say_it_where_both_are_there(cloudmake: CloudMake) -> None:
    cloudmake.connection.execute("ALTER TABLE environments ADD state text")
    cloudmake.add_preview()

    archive(cloudmake)

    assert cloudmake.count("environments", "state = 'archived' AND kind = 'archived'") == 1


@pytest.mark.stack
@pytest.mark.parametrize("point", ["enqueue", "audit", "settle"])
def test_killed_anywhere_the_next_run_leaves_nothing_undone(
    served: CloudMake, providers: PreviewProviders, point: str
) -> None:
    """A process that ends in the midst of a batch has archived nothing of it; after a removal it is missing, and settled."""
    preview = served.add_preview(add_project(served), neon_branch_id="br-1")
    providers.branches.add(("neon-1", "br-1"))

    if (child := os.fork()) == 0:
        _end_at(point)
        archive(CloudMake(url=served.url, environ=served.environ, connection=served.connection, as_of=served.as_of))
        os._exit(1)
    _, ended = os.waitpid(child, 0)
    half_way = archived(served)
    result = archive(served)

    assert os.waitstatus_to_exitcode(ended) == 9
    assert half_way == (set() if point != "settle" else {preview})
    assert result.error is None
    assert archived(served) == {preview}
    assert providers.branches == set()
    assert [row[2] for row in outbox(served)] == ["missing" if point == "settle" else "removed"]
    assert [changes["archived"] for _, changes in served.audit()] == [1]


def _end_at(point: str) -> None:
    """End this process where it would do that: write into the outbox, into the audit, or that a resource is removed."""

    def end(*_: object, **__: object) -> None:
        os._exit(9)

    place = {"enqueue": "leftovers.enqueue", "audit": "jobs.preview_archival.audit", "settle": "removal.settle"}[point]
    pytest.MonkeyPatch().setattr(f"cath_dagster.cloudmake.{place}", end)


def test_the_check_fails_for_what_two_ticks_have_missed(cloudmake: CloudMake) -> None:
    from cath_dagster.adapters.environment import EnvironmentBackends

    assert NO_EXPIRED_PREVIEW.evaluate is not None
    cloudmake.add_preview(hours=12)
    with EnvironmentBackends("CLOUDMAKE", cloudmake.environ).database("test") as database:
        before = NO_EXPIRED_PREVIEW.evaluate(database, cloudmake.as_of)
        after = NO_EXPIRED_PREVIEW.evaluate(database, cloudmake.as_of + timedelta(seconds=1))

    assert (before.passed, after.passed, after.details["expired_previews"]) == (True, False, 1)
