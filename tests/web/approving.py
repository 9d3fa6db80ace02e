"""Two pairs of eyes as tests play them: one person asks for what a run showed, and another one decides."""

from typing import Any

import httpx2

from tests.web.world import World

SHOWN = [{"target": "audit_log", "matched": 20_009}, {"target": "ingestion_log", "matched": 5}]
"""The outcomes of the run that is asked for."""
REASON = {"reason": "the backlog of March"}
PATH = "/api/v1/approvals"


def request(world: World, run_id: str, user: str = "ada", groups: str = "cath-operator") -> httpx2.Response:
    """Ask for the approval of what a run showed."""
    return world.ask("POST", PATH, user=user, groups=groups, json={"run_id": run_id, **REASON})


def decide(
    world: World, approval_id: str, how: str = "approve", user: str = "bob", groups: str = "cath-approver"
) -> httpx2.Response:
    """Approve a request or, where it is said so, reject it."""
    return world.ask("POST", f"{PATH}/{approval_id}/{how}", user=user, groups=groups, json=REASON)


def looks_find(world: World, outcomes: list[dict[str, Any]], status: str = "success") -> None:
    """Have every dry run end at once, with these counts."""

    def end(run_id: str, config: dict[str, Any]) -> None:
        if config.get("dry_run"):
            world.instance.connection.execute("UPDATE runs SET status = 'SUCCESS' WHERE run_id = %s", [run_id])
            world.add_history(run_id=run_id, dry_run=True, status=status, parameters=dict(config), outcomes=outcomes)

    world.orchestrator.on_launch = end
