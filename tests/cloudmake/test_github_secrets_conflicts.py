"""What is to be done about a secret in a place: what is ours, what is in doubt, and what somebody else wrote."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cath_dagster.cloudmake.github_secrets.targets import Action, Known, State, decide, may_delete
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.ports.github import RemoteSecret
from cath_dagster.development.simulators.github_repositories import Answer
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.secrets import Secrets, check, counts

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SAME, OTHER = "same", "other"


def remote(at: datetime | None) -> RemoteSecret | None:
    return None if at is None else RemoteSecret("NAME", NOON, at)


def known(
    value_hash: str | None = None,
    at: datetime | None = None,
    since: datetime | None = None,
    after: datetime | None = None,
) -> Known:
    return Known(
        secret_name="NAME",
        target="actions",
        name_at_target="NAME",
        value_hash=value_hash,
        remote_updated_at=at,
        pending_since=since,
        pending_after=after,
        state=State.WRITTEN,
        error=None,
    )


WRITE, SKIP, CONFLICT = Action.WRITE, Action.SKIP, Action.CONFLICT
LATER = NOON + timedelta(days=1)
CASES: list[tuple[str, Known | None, datetime | None, Action, Action]] = [
    ("nothing is there", None, None, WRITE, WRITE),
    ("what we wrote is gone", known(SAME, NOON), None, WRITE, WRITE),
    ("there, and not by us", None, NOON, CONFLICT, WRITE),
    ("there, and we only tried", known(), NOON, CONFLICT, WRITE),
    ("as we wrote it", known(SAME, NOON), NOON, SKIP, SKIP),
    ("as we wrote it, and now another value", known(OTHER, NOON), NOON, WRITE, WRITE),
    ("written since", known(SAME, NOON), NOON + MINUTE, CONFLICT, WRITE),
    ("put back to an older time", known(SAME, NOON), NOON - MINUTE, CONFLICT, WRITE),
    # A write of ours that was announced, and not confirmed.
    ("in doubt, first write, not come", known(since=NOON), None, WRITE, WRITE),
    ("in doubt, first write, came", known(since=NOON), NOON, WRITE, WRITE),
    ("in doubt, first write, came late", known(since=NOON), NOON + 10 * MINUTE, WRITE, WRITE),
    ("in doubt, first write, by clocks apart", known(since=NOON), NOON - 2 * MINUTE, WRITE, WRITE),
    ("in doubt, written by another later", known(since=NOON), NOON + 11 * MINUTE, CONFLICT, WRITE),
    ("in doubt, written by another before", known(since=NOON), NOON - 3 * MINUTE, CONFLICT, WRITE),
    ("in doubt, not come", known(OTHER, NOON, LATER, NOON), NOON, WRITE, WRITE),
    ("in doubt, and the old value wanted again", known(SAME, NOON, LATER, NOON), NOON, WRITE, WRITE),
    ("in doubt, came", known(OTHER, NOON, LATER, NOON), LATER + MINUTE, WRITE, WRITE),
    ("in doubt, and another's since", known(OTHER, NOON, LATER, NOON), LATER + timedelta(hours=1), CONFLICT, WRITE),
    # Forced over another's at 12:01, and killed before it was sent.
    ("forced, not come", known(OTHER, NOON, LATER, NOON + MINUTE), NOON + MINUTE, CONFLICT, WRITE),
    ("forced, came", known(OTHER, NOON, LATER, NOON + MINUTE), LATER, WRITE, WRITE),
    ("forced at once, not come", known(None, None, NOON, NOON - MINUTE), NOON - MINUTE, CONFLICT, WRITE),
]  # fmt: skip


@pytest.mark.parametrize(("row", "at", "expected", "forced"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_what_is_done(row: Known | None, at: datetime | None, expected: Action, forced: Action) -> None:
    found = [decide(row, remote(at), matches=lambda stored: stored == SAME, force=force) for force in (False, True)]

    assert found == [expected, forced]


def test_only_what_is_ours_is_deleted() -> None:
    there = RemoteSecret("NAME", NOON, NOON)

    assert may_delete(known(SAME, NOON), there, force=False)
    assert may_delete(known(since=NOON), there, force=False)
    assert not may_delete(known(SAME, NOON - MINUTE), there, force=False)
    assert may_delete(known(SAME, NOON - MINUTE), there, force=True)


@pytest.fixture
def secrets(cloudmake: CloudMake) -> Iterator[Secrets]:
    with Secrets.open(cloudmake) as opened:
        yield opened


def test_what_somebody_else_wrote_stays_until_a_run_is_told_to_overwrite_it(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    for name in ("BEFORE", "SINCE", "FINE"):
        secrets.add(shop, name, f"planted {name}", "actions", "codespaces")
    secrets.github.plant("acme/shop", "actions", "BEFORE", b"by hand")
    secrets.sync()
    secrets.github.plant("acme/shop", "codespaces", "SINCE", b"by hand")

    result = secrets.sync()

    assert (result.status, counts(result)) == (Status.SUCCESS, {"skipped": 4, "conflict": 2})
    assert (secrets.values("shop")["BEFORE"], secrets.values("shop", "codespaces")["SINCE"]) == ("by hand",) * 2
    assert secrets.statuses() == {"BEFORE": "conflict", "SINCE": "conflict", "FINE": "synced"}
    assert check(result)[0] is False
    assert "2 conflict" in check(result)[1]
    told = secrets.events()
    assert counts(secrets.sync()) == {"skipped": 4, "conflict": 2}
    assert secrets.events() == told
    assert secrets.synced(dry_run=True, force=True) == {"synced": 2, "skipped": 4}

    secrets.github.pass_time(1)
    assert secrets.synced(force=True) == {"synced": 2, "skipped": 4}
    assert set(secrets.values("shop").values()) == {"planted BEFORE", "planted SINCE", "planted FINE"}
    result = secrets.sync()
    assert (counts(result), check(result)) == ({"skipped": 6}, (True, ""))


def test_a_conflict_is_over_where_what_somebody_else_wrote_is_gone(secrets: Secrets) -> None:
    secrets.add(secrets.add_project("shop"), "API_KEY", "planted")
    secrets.github.plant("acme/shop", "actions", "API_KEY", b"by hand")
    assert secrets.synced() == {"conflict": 1}
    del secrets.github.keeper("acme/shop").secrets["API_KEY"]

    assert secrets.synced() == {"synced": 1}


def test_what_somebody_else_wrote_over_ours_is_not_deleted_with_it(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    secrets.add(shop, "API_KEY", "planted")
    secrets.synced()
    secrets.github.plant("acme/shop", "actions", "API_KEY", b"by hand")
    secrets.cloudmake.connection.execute("TRUNCATE secret_mappings, maintenance.stored_secret")

    assert secrets.synced() == {"conflict": 1}
    assert secrets.values("shop") == {"API_KEY": "by hand"}
    assert secrets.synced(force=True) == {"deleted": 1}
    assert (secrets.values("shop"), secrets.states()) == ({}, {})


def test_a_write_whose_answer_never_came_is_made_again_and_no_conflict(secrets: Secrets) -> None:
    secrets.add(secrets.add_project("shop"), "API_KEY", "planted")
    secrets.github.close_next(pattern="^PUT", is_done=True)

    result = secrets.sync(retries=0)

    assert (counts(result), secrets.values("shop")) == ({"failed": 1}, {"API_KEY": "planted"})
    assert secrets.synced() == {"synced": 1}
    assert secrets.synced() == {"skipped": 1}


@pytest.mark.parametrize(("times", "expected"), [(2, {"synced": 1}), (4, {"failed": 1})])
def test_a_write_that_github_does_not_show_yet_is_waited_for_and_never_a_conflict(
    secrets: Secrets, times: int, expected: dict[str, int]
) -> None:
    shop = secrets.add_project("shop")
    secrets.add(shop, "API_KEY", "planted")
    assert secrets.synced() == {"synced": 1}
    before = Answer(200, {"name": "API_KEY", **show(secrets)})
    secrets.put(shop, "API_KEY", "planted anew")
    secrets.github.pass_time(300)
    for _ in range(times):
        secrets.github.answer_next(before, pattern="^GET .*/secrets/API_KEY$")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cath_dagster.cloudmake.jobs.github_secrets_sync._now", secrets.github.repositories.now)
        result = secrets.sync()

    assert counts(result) == expected
    assert secrets.synced() == ({"skipped": 1} if times == 2 else {"synced": 1})
    assert secrets.synced() == {"skipped": 1}
    assert secrets.values("shop") == {"API_KEY": "planted anew"}


def show(secrets: Secrets) -> dict[str, str]:
    """Return what GitHub says of API_KEY now."""
    found = secrets.github.keeper("acme/shop").secrets["API_KEY"]
    return {name: getattr(found, name).isoformat() for name in ("created_at", "updated_at")}


def test_what_somebody_else_writes_long_after_a_write_in_doubt_is_a_conflict(secrets: Secrets) -> None:
    secrets.add(secrets.add_project("shop"), "API_KEY", "planted")
    secrets.github.close_next(pattern="^PUT")
    secrets.sync(retries=0)
    secrets.github.pass_time(11 * 60)
    secrets.github.plant("acme/shop", "actions", "API_KEY", b"by hand")

    assert secrets.synced() == {"conflict": 1}
    assert secrets.values("shop") == {"API_KEY": "by hand"}
