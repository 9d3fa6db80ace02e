"""Every cell of the table of rights: each role, each action, in its own location and in another, by proxy and by token."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from cath_dagster.web.rights import EVERYWHERE, Kind, Principal, Role, merged
from tests.web.world import World

Ask = Callable[[str], tuple[str, str, dict[str, object]]]
NOBODY = None
UNTIL = "{until}"
JOBS = {"cath": "clear_audit", "bon": "session_cleanup"}
PLANNED = {"cath": "subscriptions", "bon": "draft_cleanup"}
RANKS: list[Role | None] = [NOBODY, *Role]


def job(location: str, rest: str = "") -> str:
    return f"/api/v1/jobs/{location}/{JOBS[location]}{rest}"


# What is asked for, and the lowest role that may. The order matters: what is held is not run.
TABLE: list[tuple[str, Role, Ask]] = [
    ("see jobs", Role.VIEWER, lambda where: ("GET", f"/api/v1/jobs?location={where}", {})),
    ("see a job", Role.VIEWER, lambda where: ("GET", job(where), {})),
    ("see runs", Role.VIEWER, lambda where: ("GET", f"/api/v1/runs?location={where}", {})),
    ("see a run", Role.VIEWER, lambda where: ("GET", f"/api/v1/runs/going-{where}", {})),
    ("see the forecast", Role.VIEWER, lambda where: ("GET", f"/api/v1/forecast?location={where}", {})),
    ("see the audit log", Role.VIEWER, lambda where: ("GET", f"/api/v1/audit?location={where}", {})),
    ("see an approval", Role.VIEWER, lambda where: ("GET", f"/api/v1/approvals/of-{where}", {})),
    ("cancel", Role.OPERATOR, lambda where: ("DELETE", f"/api/v1/runs/going-{where}", {})),
    ("enable", Role.OPERATOR, lambda where: ("PUT", job(where, "/enabled"), {"enabled": True})),
    ("disable", Role.OPERATOR, lambda where: ("PUT", job(where, "/enabled"), {"enabled": False})),
    ("hold", Role.OPERATOR, lambda where: ("PUT", job(where, "/hold"), {"reason": "why", "until": UNTIL})),
    ("release", Role.OPERATOR, lambda where: ("DELETE", job(where, "/hold"), {})),
    ("hold all", Role.OPERATOR, lambda where: ("PUT", "/api/v1/hold", {"location": where, "reason": "why", "until": UNTIL})),
    ("release all", Role.OPERATOR, lambda where: ("DELETE", f"/api/v1/hold?location={where}", {})),
    ("dry run", Role.OPERATOR, lambda where: ("POST", f"/api/v1/jobs/{where}/{PLANNED[where]}/plan", {})),
    ("run", Role.OPERATOR, lambda where: ("POST", job(where, "/runs"), {})),
    ("request", Role.OPERATOR, lambda where: ("POST", "/api/v1/approvals", {"run_id": f"refused-{where}", "reason": "why"})),
    ("reject", Role.APPROVER, lambda where: ("POST", f"/api/v1/approvals/of-{where}/reject", {"reason": "why"})),
    ("see tokens", Role.ADMIN, lambda where: ("GET", f"/api/v1/tokens?location={where}", {})),
    (
        "make a token",
        Role.ADMIN,
        lambda where: ("POST", "/api/v1/tokens", {"name": f"made-{where}", "role": "viewer", "locations": [where]}),
    ),
    ("revoke a token", Role.ADMIN, lambda where: ("DELETE", f"/api/v1/tokens/old-{where}", {})),
    ("forget a job", Role.ADMIN, lambda where: ("DELETE", f"/api/v1/jobs/{where}/gone", {})),
]  # fmt: skip
OF_PEOPLE = {"reject"}


def prepare(world: World) -> None:
    """Have everything that can be asked for, in both locations."""
    for where, name in JOBS.items():
        world.add_history(name, location=where, run_id=f"refused-{where}", status="refused", outcomes=[
            {"target": "t", "matched": 20_000}
        ])  # fmt: skip
        world.add_history("refresh_views", location=where, run_id=f"going-{where}", status="running")
        world.add_job("gone", where, registered=False)
        world.token(Role.VIEWER, where, name=f"old-{where}")
        world.instance.connection.execute(
            "INSERT INTO operations.approval (id, location, job, run_id, status, reason, requested_by, requested_at,"
            " expires_at, as_of, parameters, counts) VALUES (%s, %s, %s, %s, 'pending', 'why', 'bob', %s, %s, %s, '{}', '{}')",
            (f"of-{where}", where, name, f"other-{where}", world.now, world.now + timedelta(hours=1), world.now),
        )


def is_enough(role: Role | None, needed: Role) -> bool:
    return role is not None and role.rank >= needed.rank


@pytest.mark.parametrize("comes_by", ["proxy", "token"])
@pytest.mark.parametrize("role", RANKS, ids=str)
def test_every_cell_of_the_table(world: World, role: Role | None, comes_by: str) -> None:
    prepare(world)
    bearer = {"Authorization": f"Bearer {world.token(role, 'cath')}"} if comes_by == "token" and role else None
    until = (world.now + timedelta(days=1)).isoformat()
    wrong = []
    for what, needed, ask in TABLE:
        for where in JOBS:
            method, path, body = ask(where)
            body = {key: until if value == UNTIL else value for key, value in body.items()}
            given: dict[str, Any] = {"json": body} if method in {"POST", "PUT"} else {}
            if bearer:
                answer = world.stranger.request(method, path, headers=bearer, **given)
            else:
                answer = world.ask(method, path, groups=f"cath-{role}", **given)
            may = where == "cath" and is_enough(role, needed) and not (bearer and what in OF_PEOPLE)
            # What is allowed may meet something that is no right's matter; none of it is 401 or 403.
            fits = answer.status_code in {200, 201, 202, 204} if may else answer.status_code == 403
            if not fits:
                wrong.append((what, where, answer.status_code, answer.text))
            elif not may:
                assert answer.headers["content-type"] == "application/problem+json"

    assert wrong == []


def test_nobody_sees_what_is_in_a_location_without_a_role(world: World) -> None:
    prepare(world)

    jobs = world.ask("GET", "/api/v1/jobs", groups="cath-viewer").json()["items"]
    runs = world.ask("GET", "/api/v1/runs", groups="cath-viewer").json()["items"]
    approvals = world.ask("GET", "/api/v1/approvals", groups="cath-viewer").json()["items"]
    metrics = world.ask("GET", "/metrics", groups="cath-viewer").text

    assert {each["location"] for each in jobs} == {each["location"] for each in runs} == {"cath"}
    assert {each["location"] for each in approvals} == {"cath"}
    assert 'location="cath"' in metrics
    assert 'location="bon"' not in metrics


@pytest.mark.parametrize(
    "path",
    ["/api/v1/jobs", "/api/v1/runs", "/api/v1/events", "/api/v1/forecast", "/api/v1/approvals", "/api/v1/audit",
     "/api/v1/alerts", "/api/v1/openapi.json", "/metrics", "/api/v1/tokens"],
)  # fmt: skip
def test_who_has_no_role_at_all_is_told_so_and_who_says_not_who_he_is_as_well(world: World, path: str) -> None:
    assert world.ask("GET", path, groups="nothing").status_code == 403
    assert world.proxy.get(path).status_code == 401


def test_what_probes_ask_is_open(world: World) -> None:
    assert world.stranger.get("/healthz").json() == {"status": "ok"}
    assert world.stranger.get("/readyz").json() == {
        "status": "ready", "database": True, "dagster": True, "scheduling": "running",
    }  # fmt: skip


def test_of_several_groups_the_highest_role_counts_location_by_location(world: World) -> None:
    assert merged([{"cath": Role.VIEWER, "bon": Role.ADMIN}, {"cath": Role.OPERATOR, "bon": Role.VIEWER}]) == {
        "cath": Role.OPERATOR,
        "bon": Role.ADMIN,
    }
    everywhere = Principal(actor="a", kind=Kind.PERSON, roles={EVERYWHERE: Role.VIEWER, "cath": Role.OPERATOR})
    assert (everywhere.role_in("cath"), everywhere.role_in("bon")) == (Role.OPERATOR, Role.VIEWER)
    assert world.ask("PUT", job("bon", "/enabled"), groups="split", json={"enabled": True}).status_code == 200
    assert world.ask("PUT", job("cath", "/enabled"), groups="split", json={"enabled": True}).status_code == 403
