"""Secrets on their way to a GitHub that listens: what is written where, what is skipped, what is refused."""

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.github import GitHubClient
from cath_dagster.cloudmake.github_secrets.validity import judge
from cath_dagster.core.model.outcome import Status
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.secrets import SCOPES, Secrets, check, counts
from tests.support.maintained import outcome


@pytest.fixture
def secrets(cloudmake: CloudMake) -> Iterator[Secrets]:
    with Secrets.open(cloudmake) as opened:
        yield opened


def test_a_secret_goes_into_each_of_its_scopes_and_a_second_run_writes_nothing(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    secrets.add(shop, "API_KEY", "planted one", *SCOPES)
    secrets.add(shop, "OTHER", "planted two", "actions", "actions,codespaces")

    assert secrets.synced() == {"synced": 5}
    assert [secrets.values("shop", scope) for scope in SCOPES] == [
        {"API_KEY": "planted one", "OTHER": "planted two"},
        {"API_KEY": "planted one", "OTHER": "planted two"},
        {"API_KEY": "planted one"},
    ]
    assert secrets.statuses() == {"API_KEY": "synced", "OTHER": "synced"}
    written, told = secrets.writes(), secrets.events()
    rows = secrets.cloudmake.rows("SELECT * FROM maintenance.secret_target ORDER BY secret_name, target")

    assert secrets.synced() == {"skipped": 5}
    assert secrets.writes() == written
    assert secrets.events() == told
    assert secrets.cloudmake.rows("SELECT * FROM maintenance.secret_target ORDER BY secret_name, target") == rows


def test_a_dry_run_says_what_a_run_would_do_and_does_none_of_it(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    secrets.add(shop, "API_KEY", "planted", *SCOPES)

    result = secrets.sync(dry_run=True)

    assert (result.status, counts(result)) == (Status.SUCCESS, {"synced": 3})
    assert outcome(result, "secret_mappings").matched == 3
    assert (secrets.writes(), secrets.states(), secrets.events()) == ([], {}, [])
    assert secrets.cloudmake.count("maintenance.wrapped_key") == 0


def test_a_changed_value_is_written_and_no_other(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    for name in ("CHANGED", "SAME"):
        secrets.add(shop, name, "planted old", "actions", "dependabot")
    secrets.synced()
    before = secrets.cloudmake.value("SELECT value_hash FROM secret_mappings WHERE secret_name = 'SAME'")
    secrets.put(shop, "CHANGED", "planted new")
    secrets.github.pass_time(1)

    assert secrets.synced() == {"synced": 2, "skipped": 2}
    assert secrets.values("shop") == {"CHANGED": "planted new", "SAME": "planted old"}
    assert secrets.cloudmake.value("SELECT value_hash FROM secret_mappings WHERE secret_name = 'SAME'") == before
    assert secrets.synced() == {"skipped": 4}


def test_a_secret_that_is_gone_at_github_is_written_again(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    secrets.add(shop, "API_KEY", "planted")
    secrets.synced()
    del secrets.github.keeper("acme/shop").secrets["API_KEY"]

    assert secrets.synced() == {"synced": 1}
    assert secrets.values("shop") == {"API_KEY": "planted"}


def test_events_say_what_was_done_for_each_secret_and_each_project(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    secrets.add(shop, "API_KEY", "planted", "actions", "codespaces")
    secrets.map(shop, "NO_VALUE", "actions")

    run_id = str(uuid.uuid4())
    secrets.sync(run_id=run_id)

    assert secrets.events() == [
        ("create", "API_KEY", ["actions", "codespaces"], "success"),
        ("update", "NO_VALUE", ["actions"], "failure"),
        ("sync_all", None, ["codespaces", "actions"], "partial"),
    ]
    query = "SELECT DISTINCT correlation_id, actor_id, created_at FROM secret_sync_events"
    assert secrets.cloudmake.rows(query) == [(uuid.UUID(run_id), None, secrets.cloudmake.as_of)]


def test_each_environment_gets_its_own_value_and_never_anothers(secrets: Secrets) -> None:
    shop = secrets.add_project("shop", "dev", "staging", "prod")
    for suffix in ("DEV", "STAGING", "PROD"):
        secrets.add(shop, f"DATABASE_URL_{suffix}", f"planted {suffix}")
    secrets.add(shop, "NEON_BRANCH_DEV", "planted branch")
    secrets.add(shop, "NEXT_PUBLIC_URL_DEV", "planted public")
    secrets.map(shop, "TOKEN")
    secrets.put(shop, "TOKEN", "planted everywhere")
    secrets.put(shop, "TOKEN", "planted in production", "production")

    secrets.synced(environment_names="production=prod")

    assert secrets.values("shop", "environment:dev") == {
        "DATABASE_URL": "planted DEV",
        "NEON_BRANCH_ID": "planted branch",
    }
    assert secrets.values("shop", "environment:staging") == {"DATABASE_URL": "planted STAGING"}
    assert secrets.values("shop", "environment:prod") == {
        "DATABASE_URL": "planted PROD",
        "TOKEN": "planted in production",
    }
    assert secrets.values("shop")["TOKEN"] == "planted everywhere"


def test_a_value_that_is_missing_is_an_error_and_nothing_is_deleted_for_it(secrets: Secrets) -> None:
    shop, other = secrets.add_project("shop", "dev", "production"), secrets.add_project("other")
    secrets.add(shop, "URL_DEV", "planted dev")
    secrets.add(shop, "URL_PROD", "planted production")
    secrets.add(other, "API_KEY", "planted")
    secrets.synced()
    secrets.cloudmake.connection.execute("DELETE FROM maintenance.stored_secret WHERE name = 'URL_PROD'")
    secrets.put(other, "API_KEY", "planted anew")
    secrets.github.pass_time(1)

    result = secrets.sync()

    assert result.status is Status.FAILED
    assert counts(result) == {"synced": 1, "skipped": 2, "missing": 2}
    assert "shop: 2 secrets could not be brought to GitHub" in str(result.error)
    assert secrets.values("shop", "environment:production") == {"URL": "planted production"}
    assert secrets.values("other") == {"API_KEY": "planted anew"}
    assert secrets.statuses() == {"API_KEY": "synced", "URL_DEV": "synced", "URL_PROD": "failed"}
    assert not check(result)[0]


def test_what_neither_a_mapping_nor_the_source_has_any_more_is_deleted_where_we_wrote_it(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    for name in ("GONE", "ONLY_UNMAPPED", "KEPT"):
        secrets.add(shop, name, "planted", "actions", "dependabot")
    secrets.synced()
    secrets.github.plant("acme/shop", "actions", "BY_HAND", b"planted by hand")
    secrets.cloudmake.connection.execute("DELETE FROM secret_mappings WHERE secret_name IN ('GONE', 'ONLY_UNMAPPED')")
    secrets.cloudmake.connection.execute("DELETE FROM maintenance.stored_secret WHERE name = 'GONE'")

    assert secrets.synced(dry_run=True) == {"deleted": 2, "skipped": 2}
    assert secrets.synced() == {"deleted": 2, "skipped": 2}
    assert sorted(secrets.values("shop")) == ["BY_HAND", "KEPT", "ONLY_UNMAPPED"]
    assert sorted(secrets.values("shop", "dependabot")) == ["KEPT", "ONLY_UNMAPPED"]
    assert ("delete", "GONE", ["actions", "dependabot"], "success") in secrets.events()
    assert secrets.synced() == {"skipped": 2}


def test_a_deletion_that_fails_or_is_left_is_made_by_the_next_run(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    secrets.add(shop, "GONE", "planted", "actions", "dependabot")
    secrets.map(shop, "NEVER_THERE")
    secrets.sync()
    secrets.cloudmake.connection.execute("TRUNCATE secret_mappings, maintenance.stored_secret")
    secrets.github.fail_next(403, pattern="^DELETE .*/dependabot/")

    failed = secrets.sync()
    assert counts(failed) == {"deleted": 1, "failed": 1}
    assert ("delete", "GONE", ["actions", "dependabot"], "partial") in secrets.events()
    # What was never written is forgotten, and no more wanted.
    assert secrets.states() == {("GONE", "dependabot"): "failed"}
    assert counts(secrets.sync(max_rows=0)) == {"left": 1}
    secrets.github.limit_next(429, retry_after=999, pattern="^DELETE")
    assert secrets.synced() == {"left": 1}
    assert secrets.synced() == {"deleted": 1}
    assert (secrets.values("shop", "dependabot"), secrets.states()) == ({}, {})


def test_a_run_that_would_delete_most_of_what_we_wrote_is_refused(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    for number in range(11):
        secrets.add(shop, f"SECRET_{number}", "planted")
    secrets.synced()
    secrets.cloudmake.connection.execute("TRUNCATE secret_mappings, maintenance.stored_secret")
    written = secrets.writes()

    result = secrets.sync()

    assert (result.status, secrets.writes()) == (Status.REFUSED, written)
    assert "11 of the 11 secrets" in str(result.error)
    assert "allow_large" in str(secrets.sync(dry_run=True).would_refuse)
    assert secrets.synced(allow_large=True) == {"deleted": 11}


def test_what_is_excluded_stays_here(secrets: Secrets) -> None:
    shop, other = secrets.add_project("shop", "dev"), secrets.add_project("other")
    for project in (shop, other):
        for name in ("ACTIONS_RUNNER", "KEY_INTERNAL", "key".upper(), "CI_DEV"):
            secrets.add(project, name, "planted")
    secrets.add(shop, "BY_ROW", "planted")
    secrets.cloudmake.connection.execute("UPDATE secret_mappings SET is_excluded = true WHERE secret_name = 'BY_ROW'")
    secrets.exclude("INTERNAL$", shop)
    secrets.exclude("key")

    secrets.sync()

    assert sorted(secrets.values("shop")) == ["CI_DEV", "KEY"]
    # In the environment it would be CI, which a global pattern keeps here.
    assert secrets.values("shop", "environment:dev") == {}
    assert sorted(secrets.values("other")) == ["CI_DEV", "KEY", "KEY_INTERNAL"]


@pytest.mark.parametrize("pattern", ["[A-Z", "(?<name>x)", "a{99999999999}"])
def test_a_pattern_that_cannot_be_read_refuses_the_run_by_its_id(secrets: Secrets, pattern: str) -> None:
    secrets.add(secrets.add_project("shop"), "API_KEY", "planted")
    pattern_id = secrets.exclude(pattern)

    result = secrets.sync()

    assert (result.status, secrets.github.requests) == (Status.REFUSED, [])
    assert str(pattern_id) in str(result.error)


def test_a_secret_of_githubs_own_name_never_leaves(secrets: Secrets) -> None:
    secrets.cloudmake.connection.execute("DELETE FROM secret_exclusion_patterns")
    secrets.add(secrets.add_project("shop"), "GITHUB_ANYTHING", "planted")

    assert secrets.synced() == {"excluded": 1}
    assert secrets.writes() == []


BROKEN: list[tuple[str, Callable[[Secrets, uuid.UUID], object], str]] = [
    ("repository", lambda s, p: s.cloudmake.connection.execute("UPDATE projects SET integrations = NULL WHERE id = %s", [p]), "has no GitHub repository"),
    ("two", lambda s, p: s.cloudmake.insert("integration_configs", project_id=p, provider="github", config='{"owner": "acme", "repo": "elsewhere"}'), "has several repositories"),
    ("gone", lambda s, p: s.github.remove_repository("acme/gone"), "has no such thing"),
    ("scope", lambda s, p: s.map(p, "ELSEWHERE", "cloudflare"), "'cloudflare' is no scope"),
    ("empty", lambda s, p: s.map(p, "EMPTY").put(p, "EMPTY", ""), "empty"),
    ("long", lambda s, p: s.map(p, "LONG").put(p, "LONG", "x" * 49_153), "49,153 bytes"),
    ("bytes", lambda s, p: s.map(p, "BYTES").put(p, "BYTES", b"\xff"), "no text"),
    ("environment", lambda s, p: s.add(p, "X_PROD", "planted"), "environment:production: GitHub has no such thing"),
    ("collision", lambda s, p: s.add(p, "X_PROD", "planted").add(p, "X_PRODUCTION", "planted"), "several secrets would be X"),
    ("two-values", lambda s, p: s.add(p, "X_DEV", "planted").put(p, "X", "other", "dev"), "two values"),
    ("another-key", lambda s, p: s.cloudmake.connection.execute("UPDATE maintenance.stored_secret SET sealed = sealed || '\\x00' WHERE project_id = %s", [p]), "does not open"),
]  # fmt: skip


def test_projects_that_fail_do_not_stop_the_others(secrets: Secrets) -> None:
    for slug in ("a", "z"):
        secrets.add(secrets.add_project(slug), "API_KEY", f"planted {slug}")
    for slug, plant, _ in BROKEN:
        project_id = secrets.add_project(slug)
        secrets.add(project_id, "API_KEY", "planted")
        plant(secrets, project_id)

    result = secrets.sync()

    assert (result.status, result.began) == (Status.FAILED, True)
    told = dict(re.findall(r"(?:^|; )([a-z-]+): (.*?)(?=; [a-z-]+: |$)", str(result.error)))
    assert {slug: slug if says in told.get(slug, "") else told.get(slug) for slug, _, says in BROKEN} == {
        slug: slug for slug, _, _ in BROKEN
    }
    assert "planted" not in str(result.error)
    assert (secrets.values("a"), secrets.values("z")) == ({"API_KEY": "planted a"}, {"API_KEY": "planted z"})
    # What is wrong with one secret does not stop the project's others either.
    assert [slug for slug in ("scope", "empty", "collision") if secrets.values(slug)["API_KEY"] != "planted"] == []


def test_a_place_that_is_full_takes_what_it_has_and_nothing_new(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    secrets.add(shop, "API_KEY", "planted")
    secrets.synced()
    for number in range(99):
        secrets.github.plant("acme/shop", "actions", f"THEIRS_{number}", b"")
    secrets.put(shop, "API_KEY", "planted anew")
    secrets.add(shop, "NEW", "planted")

    result = secrets.sync()

    assert counts(result) == {"synced": 1, "failed": 1}
    assert "GitHub keeps 100 secrets there" in str(result.error)


@pytest.mark.parametrize(
    ("source", "repository"),
    [
        ({"github": {"owner": "acme", "repo": "shop"}}, None),
        ({"githubRepo": "Acme/Shop"}, '{"owner": "acme", "repo": "shop", "fullName": "acme/shop"}'),
        ({}, '{"owner": "acme", "repo": "shop"}'),
    ],
)
def test_a_repository_is_found_wherever_the_service_wrote_it(
    secrets: Secrets, source: dict[str, Any], repository: str | None
) -> None:
    shop = secrets.add_project("shop", integrations=json.dumps(source))
    secrets.add(shop, "API_KEY", "planted")
    if repository:
        secrets.cloudmake.insert("integration_configs", project_id=shop, provider="github", config=repository)

    assert secrets.synced() == {"synced": 1}


def test_a_project_of_which_nothing_goes_to_github_needs_no_repository(secrets: Secrets) -> None:
    empty = secrets.add_project("empty", integrations=None)
    secrets.add(secrets.add_project("shop"), "API_KEY", "planted")
    assert secrets.synced() == {"synced": 1}

    secrets.add(empty, "CI", "planted")
    assert secrets.synced() == {"skipped": 1, "excluded": 1}


def test_only_active_projects_and_of_them_those_that_are_named_are_seen_to(secrets: Secrets) -> None:
    for slug, status in (("one", "active"), ("two", "active"), ("dead", "failed")):
        secrets.add(secrets.add_project(slug, status=status), "API_KEY", "planted")

    assert secrets.synced(projects="two") == {"synced": 1}
    assert secrets.synced() == {"synced": 1, "skipped": 1}
    assert "no active project is called dead" in str(secrets.sync(projects="dead").error)


def test_nothing_is_written_where_the_quota_is_all_but_used_up(secrets: Secrets) -> None:
    secrets.add(secrets.add_project("shop"), "API_KEY", "planted")
    secrets.github.remaining = 100

    result = secrets.sync()

    assert (result.status, secrets.states(), secrets.writes()) == (Status.REFUSED, {}, [])
    assert "100 are reserved" in str(result.error)
    assert "100 are reserved" in str(secrets.sync(dry_run=True).would_refuse)
    assert secrets.synced(reserve=10) == {"synced": 1}


def test_as_many_whole_secrets_as_the_quota_lets_are_written_and_the_rest_is_left(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    for number in range(4):
        secrets.add(shop, f"SECRET_{number}", "planted", "actions", "codespaces")
    # Two lists, two keys, and four requests for each secret: enough for two.
    secrets.github.remaining = 113

    result = secrets.sync()

    assert (result.status, counts(result)) == (Status.SUCCESS, {"synced": 4, "left": 4})
    assert "left to the next run: " in "".join(result.notes)
    assert [sorted(secrets.values("shop", scope)) for scope in SCOPES[:2]] == [["SECRET_0", "SECRET_1"]] * 2
    assert secrets.statuses()["SECRET_3"] == "pending"
    assert check(result) == (True, "")
    secrets.github.remaining = 5_000
    secrets.cloudmake.as_of = secrets.cloudmake.ago(hours=-27)
    assert "pending for more than 26 h" in check(secrets.sync(max_rows=0))[1]
    assert secrets.synced() == {"synced": 4, "skipped": 4}


@pytest.mark.parametrize(
    ("config", "says"), [({"max_writes_per_hour": 3}, "max_writes_per_hour"), ({"max_rows": 3}, "max_rows")]
)
def test_a_limit_of_ours_leaves_the_rest_too(secrets: Secrets, config: dict[str, int], says: str) -> None:
    shop = secrets.add_project("shop")
    for name in ("A", "B"):
        secrets.add(shop, name, "planted", "actions", "codespaces")

    result = secrets.sync(**config)

    assert (counts(result), says in "".join(result.notes)) == ({"synced": 2, "left": 2}, True)
    expected = {"skipped": 2, "left": 2} if says == "max_writes_per_hour" else {"synced": 2, "skipped": 2}
    assert counts(secrets.sync(**config)) == expected


def test_what_github_says_is_left_is_kept_for_each_project(secrets: Secrets) -> None:
    for slug in ("one", "two"):
        secrets.add(secrets.add_project(slug), "API_KEY", "planted")

    secrets.synced()
    secrets.put(secrets.cloudmake.value("SELECT id FROM projects WHERE slug = 'one'"), "API_KEY", "planted anew")
    secrets.synced()

    rows = secrets.cloudmake.rows("SELECT quota_type::text, remaining, limit_value FROM github_api_quotas ORDER BY 2")
    assert [(kind, limit) for kind, _, limit in rows] == [("core", 5_000)] * 2
    assert all(remaining < 5_000 for _, remaining, _ in rows)


def test_writes_follow_each_other_no_faster_than_github_likes(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    for name in ("A", "B", "C"):
        secrets.add(shop, name, "planted")

    secrets.synced(writes_per_minute=6)

    assert [round(pause) for pause in secrets.cloudmake.waited] == [10, 10]


LIMITS: list[tuple[str, Callable[[Secrets], None], dict[str, int]]] = [
    ("short", lambda s: s.github.limit_next(403, retry_after=120, pattern="^PUT"), {"synced": 2}),
    ("long", lambda s: s.github.limit_next(403, retry_after=121, pattern="^PUT"), {"left": 2}),
    ("no words", lambda s: s.github.limit_next(429, pattern="^PUT", times=4), {"left": 2}),
    ("some", lambda s: s.github.limit_next(429, pattern="^PUT", times=3), {"synced": 2}),
    ("in the list", lambda s: s.github.limit_next(429, retry_after=3_600, pattern="secrets$"), {"left": 2}),
]


@pytest.mark.parametrize(("plant", "expected"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS])
def test_a_limit_is_waited_out_or_ends_the_writing(
    secrets: Secrets, plant: Callable[[Secrets], None], expected: dict[str, int]
) -> None:
    shop = secrets.add_project("shop")
    for name in ("A", "B"):
        secrets.add(shop, name, "planted")
    plant(secrets)

    result = secrets.sync()

    assert (result.status, counts(result)) == (Status.SUCCESS, expected)
    secrets.github.pass_time(1)
    assert secrets.synced() in ({"skipped": 2}, {"synced": 2})
    assert sorted(secrets.values("shop")) == ["A", "B"]


FAULTS: list[tuple[str, Callable[[Secrets], None]]] = [
    ("not allowed", lambda s: s.github.fail_next(403, pattern="^PUT .*/codespaces")),
    ("unavailable", lambda s: s.github.fail_next(503, pattern="/codespaces", message=None, times=9)),
    ("cut off", lambda s: s.github.close_next(pattern="/codespaces", times=9)),
    ("a page", lambda s: s.github.fail_next(200, pattern="/codespaces/secrets$", message=None)),
    ("not taken", lambda s: s.github.fail_next(422, pattern="^PUT .*/codespaces")),
]


@pytest.mark.parametrize("plant", [row[1] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_target_that_fails_does_not_stop_the_others_and_the_next_run_mends_it(
    secrets: Secrets, plant: Callable[[Secrets], None]
) -> None:
    secrets.add(secrets.add_project("shop"), "API_KEY", "planted", *SCOPES)
    plant(secrets)

    result = secrets.sync()

    assert (result.status, counts(result)) == (Status.FAILED, {"synced": 2, "failed": 1})
    assert secrets.states()["API_KEY", "codespaces"] == "failed"
    assert not check(result)[0]
    secrets.github.recover()
    assert secrets.synced() == {"synced": 1, "skipped": 2}
    assert secrets.statuses() == {"API_KEY": "synced"}


def test_a_github_that_does_not_answer_at_all_is_not_asked_for_ever(secrets: Secrets) -> None:
    for number in range(6):
        secrets.add(secrets.add_project(f"project-{number}"), "API_KEY", "planted")
    secrets.github.close_next(pattern="/repos/", times=99)

    result = secrets.sync(retries=1)

    assert counts(result) == {"failed": 6}
    # The question how much may be asked, and three places twice.
    assert len(secrets.github.requests) == 1 + 6
    assert "is asked no more in this run" in str(result.error)


def test_a_repository_that_hangs_delays_itself_alone(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = GitHubClient.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "timeout", 0.5)
    for slug in ("hangs", "other"):
        secrets.add(secrets.add_project(slug), "API_KEY", "planted", "actions", "codespaces")
    secrets.github.hang_next(60, pattern="/acme/hangs/actions", times=9)

    result = secrets.sync(retries=1)

    assert counts(result) == {"failed": 1, "synced": 3}
    assert "gave no answer within 0.5 s" in str(result.error)
    assert len([each for each in secrets.github.requests if "/hangs/actions" in each.path]) == 2


def test_a_token_that_is_not_taken_fails_the_run_before_anything_is_written(secrets: Secrets) -> None:
    secrets.add(secrets.add_project("shop"), "API_KEY", "planted")
    secrets.cloudmake.environ["CLOUDMAKE_GITHUB_TOKEN"] = "planted-other-token"

    result = secrets.sync()

    assert (result.status, secrets.states()) == (Status.FAILED, {})
    assert "does not take the token" in str(result.error)
    assert "planted" not in str(result.error)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("CLOUDMAKE_GITHUB_TOKEN", "", "CLOUDMAKE_GITHUB_TOKEN"),
        ("CLOUDMAKE_GITHUB_API_URL", "http://github.example", "https"),
        ("CLOUDMAKE_MASTER_ENCRYPTION_KEY", "", "CLOUDMAKE_MASTER_ENCRYPTION_KEY"),
        ("CLOUDMAKE_MASTER_ENCRYPTION_KEY", "planted short", "13 characters"),
        ("CLOUDMAKE_ENVIRONMENT", "", "CLOUDMAKE_ENVIRONMENT"),
        ("CLOUDMAKE_SECRET_SOURCE", "vault", "CLOUDMAKE_SECRET_SOURCE"),
        ("CLOUDMAKE_SECRET_SOURCE", "files:///no/such/folder", "cannot be read"),
    ],
)
def test_a_variable_that_is_missing_or_unusable_is_named_before_anything_is_asked(
    secrets: Secrets, variable: str, value: str, says: str
) -> None:
    secrets.cloudmake.environ[variable] = value

    result = secrets.sync()

    assert (result.status, secrets.github.requests) == (Status.FAILED, [])
    assert says in str(result.error)
    assert "planted" not in str(result.error)


def test_a_hash_of_the_services_own_counts_as_equal_and_is_replaced_by_the_next_write(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    plain = {value: hashlib.sha256(value.encode()).hexdigest() for value in ("planted", "planted anew")}
    secrets.map(shop, "API_KEY", value_hash=plain["planted"])
    secrets.put(shop, "API_KEY", "planted")
    stored = "SELECT value_hash FROM secret_mappings"

    secrets.synced()
    assert secrets.cloudmake.value(stored) == plain["planted"]
    secrets.put(shop, "API_KEY", "planted anew")
    secrets.synced()
    assert secrets.cloudmake.value(stored) not in plain.values()
    secrets.put(shop, "API_KEY", "planted")
    secrets.synced(hash="sha256")
    assert secrets.cloudmake.value(stored) == plain["planted"]
    assert secrets.cloudmake.value("SELECT value_hash FROM maintenance.secret_target") not in plain.values()


def test_a_new_master_key_changes_no_hash_while_the_old_one_is_there_and_none_is_a_refusal(secrets: Secrets) -> None:
    secrets.add(secrets.add_project("shop"), "API_KEY", "planted")
    secrets.synced()
    environ = secrets.cloudmake.environ
    old, environ["CLOUDMAKE_MASTER_ENCRYPTION_KEY"] = environ["CLOUDMAKE_MASTER_ENCRYPTION_KEY"], "another " * 8

    lost = secrets.sync()
    environ["CLOUDMAKE_MASTER_ENCRYPTION_KEY_OLD"] = old

    assert (lost.status, "does not open" in str(lost.error)) == (Status.FAILED, True)
    assert secrets.synced() == {"skipped": 1}


def test_a_rotation_of_the_master_key_is_no_change_of_any_secret(secrets: Secrets) -> None:
    secrets.add(secrets.add_project("shop"), "API_KEY", "planted", *SCOPES)
    secrets.synced()
    environ = secrets.cloudmake.environ
    environ["CLOUDMAKE_MASTER_ENCRYPTION_KEY_OLD"] = environ["CLOUDMAKE_MASTER_ENCRYPTION_KEY"]
    environ["CLOUDMAKE_MASTER_ENCRYPTION_KEY"] = "another key that is made up " * 2

    rotated = secrets.cloudmake.run("master_key_rotation", confirm=True)
    del environ["CLOUDMAKE_MASTER_ENCRYPTION_KEY_OLD"]

    assert rotated.error is None
    assert secrets.synced() == {"skipped": 3}


def test_a_secret_that_was_never_written_is_not_valid_once_it_had_its_night(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    secrets.add(shop, "OLD", "planted", "actions", "codespaces")
    secrets.map(shop, "NEW", created_at=secrets.cloudmake.ago(hours=25).replace(tzinfo=None))
    secrets.put(shop, "NEW", "planted")

    result = secrets.sync(max_rows=0)
    assert check(result) == (True, "")
    secrets.cloudmake.connection.execute("DELETE FROM maintenance.secret_target")

    with EnvironmentBackends("CLOUDMAKE", secrets.cloudmake.environ).database("test") as database:
        verdict = judge(database, secrets.cloudmake.as_of)
    assert (verdict.passed, verdict.details["wrong"]) == (False, 2)
    assert "2 never written" in verdict.message
