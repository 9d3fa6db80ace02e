"""What of CloudMake is an asset: what its jobs make, and the tables that they report on."""

from datetime import timedelta

import dagster as dg

from cath_dagster.cloudmake import CLOUDMAKE, OWNER
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.runs import ledger_spec

TABLES = {
    "admin_audit_logs": "What administrators did, and what the jobs did in their place.",
    "circuit_breaker": "How each MCP server answers; ours, in the schema maintenance, and written by the services too.",
    "environments": "Core and preview environments of projects, archived ones included.",
    "github_api_quotas": "What is left of GitHub's limits, by project.",
    "migrations": "The service's own migrations: which were applied, as its migrator writes it down.",
    "secret_audit": "Who read, changed and rotated which secret.",
    "secret_sync_events": "What was written to GitHub, by secret and by project.",
    "secrets_metadata": "Metadata of secrets, encrypted under the master key.",
}
MADE_BY = {
    "admin_query_benchmark": ("admin_query_benchmark",),
    "github_secrets_sync": ("secret_mappings",),
    "jwt_key_rotation": ("jwt_keys", "jwks"),
    "mcp_load_test": ("mcp_server_metrics",),
    "secret_scan": ("repository_secrets",),
    "spec_drift": ("mcp_drift_snapshots",),
}
"""By job, the assets that a run makes, in that order: its outcomes' targets of the same names."""
ASSETS: dict[str, tuple[str, set[str], int | None]] = {
    "admin_query_benchmark": (
        "How fast an administrator's queries are, under row-level security and without.",
        {"postgres"},
        None,
    ),
    "jwks": ("The public keys by which anybody verifies CloudMake's tokens; never a secret.", {"json"}, 26),
    "jwt_keys": ("The keys by which tokens are signed, encrypted under the master key.", {"postgres", "table"}, 26),
    "mcp_drift_snapshots": (
        "Where what is declared and what is there differ, by server and by source.",
        {"postgres", "table"},
        3,
    ),
    "mcp_server_metrics": (
        "How fast each MCP server answers, and how often it fails, day by day.",
        {"postgres", "table"},
        26,
    ),
    "repository_secrets": ("Secrets that stand in the repository, by fingerprint; never a value.", {"git"}, 26),
    "secret_mappings": ("Which secret goes to which scopes of GitHub, and how far it got.", {"postgres", "table"}, 26),
}
"""What each of them is, its kinds, and after how many hours without a run it is stale."""

TABLE_SPECS = [
    dg.AssetSpec(
        dg.AssetKey([CLOUDMAKE.name, name]),
        description=description,
        group_name=CLOUDMAKE.name,
        kinds={"postgres", "table"},
        owners=[OWNER],
    )
    for name, description in TABLES.items()
] + [ledger_spec(CLOUDMAKE, OWNER)]


def made_by(spec: JobSpec) -> list[dg.AssetSpec]:
    """Return the assets that a job makes."""
    return [_made(spec, name, *ASSETS[name]) for name in MADE_BY[spec.name]]


def _made(spec: JobSpec, name: str, description: str, kinds: set[str], hours: int | None) -> dg.AssetSpec:
    """Return an asset that is stale after so many hours; of None it never is."""
    return dg.AssetSpec(
        dg.AssetKey([CLOUDMAKE.name, name]),
        description=description,
        group_name=CLOUDMAKE.name,
        kinds=kinds,
        owners=[spec.owner],
        skippable=True,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=hours)) if hours else None,
    )
