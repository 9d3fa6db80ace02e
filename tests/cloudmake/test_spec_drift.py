"""spec_drift: each source is compared, open drift is one row a server, and what cannot be read is never "no drift"."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cloudmake.jobs.spec_drift import no_open_drift, resolved_within_a_day
from cath_dagster.core.model.outcome import RunResult
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.documents import DocumentServer
from tests.cloudmake.drizzle import generate
from tests.cloudmake.killed import is_killed_at
from tests.support.maintained import outcome

JOB = "spec_drift"
TABLE = "mcp_drift_snapshots"
SPECIFICATION = """
openapi: 3.1.0
paths:
  /projects:
    get:
      parameters: [{in: query, name: page}]
      responses: {200: {description: fine}, '401': {description: no}}
  /projects/{id}:
    delete: {responses: {204: {description: gone}}}
"""
SERVED = {
    "openapi": "3.0.0",
    "paths": {
        "/projects": {
            "get": {"parameters": [{"in": "query", "name": "page"}], "responses": {"200": {}, "401": {}}},
        },
        "/projects/{projectId}": {"delete": {"responses": {"204": {}}}},
    },
}


@pytest.fixture
def root(cloudmake: CloudMake, tmp_path: Path) -> Path:
    cloudmake.environ["CLOUDMAKE_SPEC_ROOT"] = str(tmp_path)
    return tmp_path


@pytest.fixture
def served(cloudmake: CloudMake, root: Path) -> Iterator[DocumentServer]:
    contracts = root / "specs" / "001-projects" / "contracts"
    contracts.mkdir(parents=True)
    (contracts / "openapi.yaml").write_text(SPECIFICATION)
    with DocumentServer() as server:
        server.body = json.dumps(SERVED)
        cloudmake.environ["CLOUDMAKE_OPENAPI_URL"] = server.url
        yield server


def snapshots(cloudmake: CloudMake) -> list[tuple[Any, ...]]:
    return cloudmake.rows(
        f"SELECT server_name, status, detected_at, resolved_at, diff_json FROM {TABLE} ORDER BY detected_at, server_name"
    )


def add_token(cloudmake: CloudMake, name: str, value: object, category: str = "color") -> None:
    cloudmake.insert("design_tokens", name=name, category=category, value=Jsonb(value), version=1)


def add_version(cloudmake: CloudMake, number: int, snapshot: object) -> None:
    cloudmake.insert("design_token_versions", version=number, snapshot=Jsonb(snapshot), hash=f"hash {number}")


def add_artifact(cloudmake: CloudMake, path: str, checksum: str, **values: Any) -> None:
    cloudmake.insert(
        "spec_artifacts",
        artifact_path=path,
        checksum=checksum,
        project_id=cloudmake.add_project(),
        feature_dir="specs/001",
        source_path="spec.md",
        artifact_type="other",
        **values,
    )


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def counts(result: RunResult, server_name: str) -> tuple[object, ...]:
    details = outcome(result, server_name).details
    return tuple(details[name] for name in ("added", "removed", "changed"))


# What becomes of open drift


def test_drift_opens_one_row_keeps_it_and_resolves_it(cloudmake: CloudMake) -> None:
    add_token(cloudmake, "brand", {"light": {"hex": "#fff"}})
    first = cloudmake.run(JOB)
    same = cloudmake.run(JOB, as_of=cloudmake.as_of + timedelta(hours=1))
    add_token(cloudmake, "accent", "#000")
    other = cloudmake.run(JOB, as_of=cloudmake.as_of + timedelta(hours=2))
    (open_row,) = snapshots(cloudmake)
    cloudmake.connection.execute("DELETE FROM design_tokens")
    gone = cloudmake.run(JOB, as_of=cloudmake.as_of + timedelta(hours=3))
    (resolved,) = snapshots(cloudmake)

    assert [result.status for result in (first, same, other, gone)] == ["success"] * 4
    assert [outcome(result, TABLE).updated for result in (first, same, other, gone)] == [1, 0, 1, 1]
    diff = {"source": "tokens", "added": ["token accent", "token brand"], "removed": [], "changed": []}
    assert open_row == ("spec:tokens", "detected", cloudmake.as_of, None, diff)
    assert resolved[1:4] == ("resolved", cloudmake.as_of, cloudmake.as_of + timedelta(hours=3))
    assert outcome(other, "spec:tokens").details["first_seen"] == cloudmake.as_of.isoformat()
    assert outcome(other, TABLE).details["open_tokens"] == 1
    assert outcome(gone, TABLE).details["open"] == 0


def test_drift_that_comes_back_opens_another_row(cloudmake: CloudMake) -> None:
    for hours in range(3):
        cloudmake.connection.execute("DELETE FROM design_tokens")
        if hours != 1:
            add_token(cloudmake, "brand", "#fff")
        cloudmake.run(JOB, as_of=cloudmake.as_of + timedelta(hours=hours))

    assert [row[1] for row in snapshots(cloudmake)] == ["resolved", "detected"]


def test_of_several_open_rows_of_one_server_the_oldest_stays(cloudmake: CloudMake) -> None:
    for days in (1, 2, 3):
        cloudmake.insert(TABLE, server_name="spec:tokens", diff_json=Jsonb({}), detected_at=cloudmake.ago(days=days))
    add_token(cloudmake, "brand", "#fff")

    cloudmake.run(JOB)

    assert [(row[1], row[2]) for row in snapshots(cloudmake)] == [
        ("detected", cloudmake.ago(days=3)),
        ("resolved", cloudmake.ago(days=2)),
        ("resolved", cloudmake.ago(days=1)),
    ]


def test_a_dry_run_tells_and_writes_nothing(cloudmake: CloudMake) -> None:
    add_token(cloudmake, "brand", "#fff")

    result = cloudmake.run(JOB, dry_run=True)

    assert (outcome(result, TABLE).matched, counts(result, "spec:tokens")) == (1, (1, 0, 0))
    assert snapshots(cloudmake) == []


def test_drift_is_a_result_and_with_the_gate_a_failure(cloudmake: CloudMake) -> None:
    add_token(cloudmake, "brand", "#fff")

    plain, gated, dry = cloudmake.run(JOB), cloudmake.run(JOB, gate=True), cloudmake.run(JOB, gate=True, dry_run=True)

    assert (plain.status, gated.status, dry.status) == ("success", "failed", "failed")
    assert [(check.check, check.passed) for check in plain.checks] == [
        ("sc_008_no_open_drift", False),
        ("drift_resolved_within_a_day", True),
    ]
    assert "spec:tokens" in plain.checks[0].message


def test_the_checks_are_answered_by_the_database_alone(cloudmake: CloudMake) -> None:
    with EnvironmentBackends("CLOUDMAKE", cloudmake.environ).database("check") as database:
        assert no_open_drift(database, cloudmake.as_of).passed
        cloudmake.insert(TABLE, server_name="github", diff_json=Jsonb({}), detected_at=cloudmake.ago(days=1))
        found = [check(database, cloudmake.as_of) for check in (no_open_drift, resolved_within_a_day)]
        later = resolved_within_a_day(database, cloudmake.as_of + timedelta(seconds=1))

    assert [verdict.passed for verdict in found] == [False, True]
    assert (later.passed, "github" in later.message) == (False, True)


@pytest.mark.stack
def test_killed_at_any_statement_there_is_one_open_row_or_none(cloudmake: CloudMake) -> None:
    add_token(cloudmake, "brand", "#fff")
    number = 1
    while is_killed_at(number, lambda: cloudmake.run(JOB)):
        assert [row[:2] for row in snapshots(cloudmake)] in ([], [("spec:tokens", "detected")])
        number += 1

    assert number > 10
    assert [row[:2] for row in snapshots(cloudmake)] == [("spec:tokens", "detected")]


# Which sources are looked at


def test_what_is_not_configured_is_skipped_and_named(cloudmake: CloudMake) -> None:
    result = cloudmake.run(JOB)

    assert result.status == "success"
    for source, variable in (("schema", "MIGRATIONS_PATH"), ("mcp", "MCP_CONFIG"), ("artifacts", "SPEC_ROOT")):
        assert any(note.startswith(f"{source}: skipped") and variable in note for note in result.notes)
    assert any(note == "routes: skipped, CLOUDMAKE_SPEC_ROOT, CLOUDMAKE_OPENAPI_URL not set" for note in result.notes)


def test_a_source_that_is_asked_for_and_not_configured_fails(cloudmake: CloudMake) -> None:
    result = cloudmake.run(JOB, sources="tokens, schema")

    assert (result.status, "CLOUDMAKE_MIGRATIONS_PATH" in (result.error or "")) == ("failed", True)


def test_an_unknown_source_is_named(cloudmake: CloudMake) -> None:
    assert "no source colours" in (cloudmake.run(JOB, sources="colours").error or "")


def test_tables_that_a_database_lacks_are_no_drift_and_nothing_compared_is_no_success(cloudmake: CloudMake) -> None:
    cloudmake.connection.execute("DROP TABLE design_tokens, design_token_versions")

    result = cloudmake.run(JOB)

    assert (result.status, "nothing was compared" in (result.error or "")) == ("failed", True)
    assert any("no table design_tokens" in note for note in result.notes)


def test_what_cannot_be_read_keeps_its_row_and_fails_the_run_after_the_rest(cloudmake: CloudMake, root: Path) -> None:
    add_version(cloudmake, 1, "no tokens")
    add_artifact(cloudmake, "gone.ts", sha256(b"x"))
    before = {"source": "tokens", "added": ["token brand"], "removed": [], "changed": []}
    cloudmake.insert(TABLE, server_name="spec:tokens", diff_json=Jsonb(before), detected_at=cloudmake.ago(days=9))

    result = cloudmake.run(JOB)

    assert (result.status, "tokens: " in (result.error or "")) == ("failed", True)
    assert [row[:2] for row in snapshots(cloudmake)] == [("spec:tokens", "detected"), ("spec:artifacts", "detected")]
    assert counts(result, "spec:artifacts") == (0, 1, 0)
    assert outcome(result, TABLE).details["unreadable"] == ["tokens"]


# Design tokens


def test_a_changed_value_at_any_depth_is_drift_and_the_order_of_keys_is_none(cloudmake: CloudMake) -> None:
    add_version(
        cloudmake, 2, {"a": {"category": "color", "value": {"x": {"hex": "#fff", "alpha": 1.0}}}, "b": {"value": 1}}
    )
    add_version(cloudmake, 1, {})
    add_token(cloudmake, "a", {"x": {"alpha": 1, "hex": "#fff"}})
    add_token(cloudmake, "b", 1, "spacing")
    same = cloudmake.run(JOB)
    cloudmake.connection.execute(
        """UPDATE design_tokens SET value = '{"x": {"alpha": 1, "hex": "#ffe"}}' WHERE name = 'a'"""
    )
    cloudmake.connection.execute("DELETE FROM design_tokens WHERE name = 'b'")

    changed = cloudmake.run(JOB)

    assert counts(same, "spec:tokens") == (0, 0, 0)
    assert snapshots(cloudmake)[0][4] == {
        "source": "tokens",
        "added": [],
        "removed": ["token b"],
        "changed": ["token a (value)"],
    }
    assert changed.status == "success"
    assert "#ff" not in json.dumps(changed.as_json()) + str(snapshots(cloudmake)) + str(cloudmake.reporter.lines)


@pytest.mark.parametrize(
    "snapshot",
    [
        [{"name": "a", "category": "color", "value": {"hex": 4}}],
        {"a": {"value": {"hex": 4}, "version": 1}},
        {"a": {"hex": 4}},
    ],
)
def test_a_version_may_hold_tokens_or_their_values_alone(cloudmake: CloudMake, snapshot: object) -> None:
    add_version(cloudmake, 1, snapshot)
    add_token(cloudmake, "a", {"hex": 4})
    same = cloudmake.run(JOB, dry_run=True)
    cloudmake.connection.execute("""UPDATE design_tokens SET value = '{"hex": 5}'""")

    assert counts(same, "spec:tokens") == (0, 0, 0)
    assert counts(cloudmake.run(JOB, dry_run=True), "spec:tokens") == (0, 0, 1)


# Artifacts


def test_an_artifact_is_compared_by_the_newest_checksum_of_its_path(cloudmake: CloudMake, root: Path) -> None:
    (root / "same.ts").write_bytes(b"same")
    (root / "other.ts").write_bytes(b"other")
    (root / "long.ts").write_bytes(b"long")
    (root / "undeclared.ts").write_bytes(b"")
    add_artifact(cloudmake, "same.ts", sha256(b"old"), updated_at=cloudmake.naive_ago(days=2))
    add_artifact(cloudmake, "same.ts", f"sha256:{sha256(b'same').upper()}", updated_at=cloudmake.naive_ago(days=1))
    add_artifact(cloudmake, "other.ts", sha256(b"else"))
    add_artifact(cloudmake, "long.ts", hashlib.sha512(b"long").hexdigest())
    add_artifact(cloudmake, "sub/gone.ts", sha256(b"x"))

    cloudmake.run(JOB)

    assert snapshots(cloudmake)[0][4] == {
        "source": "artifacts",
        "added": [],
        "removed": ["artifact sub/gone.ts"],
        "changed": ["artifact other.ts (checksum)"],
    }


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "link", "sub/../../outside", ""])
def test_a_path_that_leads_out_of_the_root_is_refused(cloudmake: CloudMake, root: Path, path: str) -> None:
    inside = root / "inside"
    inside.mkdir()
    (root / "outside").write_text("secret")
    (inside / "link").symlink_to(root / "outside")
    cloudmake.environ["CLOUDMAKE_SPEC_ROOT"] = str(inside)
    add_artifact(cloudmake, path, sha256(b"secret"))

    result = cloudmake.run(JOB)

    assert (result.status, "lead out of CLOUDMAKE_SPEC_ROOT" in (result.error or "")) == ("failed", True)


def test_a_checksum_of_no_known_length_is_said(cloudmake: CloudMake, root: Path) -> None:
    add_artifact(cloudmake, "a.ts", "abc")

    assert "checksum of 3 digits" in (cloudmake.run(JOB).error or "")


# Routes


def test_routes_that_are_served_as_declared_are_no_drift(cloudmake: CloudMake, served: DocumentServer) -> None:
    result = cloudmake.run(JOB)

    assert (result.error, counts(result, "spec:routes")) == (None, (0, 0, 0))
    assert outcome(result, "spec:routes").details["declared"] == 2


def test_routes_parameters_and_codes_that_differ_are_named(cloudmake: CloudMake, served: DocumentServer) -> None:
    paths: dict[str, Any] = {
        "/projects": {"get": {"parameters": [{"in": "query", "name": "cursor"}], "responses": {"200": {}}}, "post": {}},
    }
    served.body = json.dumps({**SERVED, "paths": paths})

    cloudmake.run(JOB)

    assert snapshots(cloudmake)[0][4] == {
        "source": "routes",
        "added": ["POST /projects"],
        "removed": ["DELETE /projects/{}"],
        "changed": ["GET /projects (parameters, responses)"],
    }


def test_several_specifications_are_one_declaration(cloudmake: CloudMake, served: DocumentServer, root: Path) -> None:
    other = root / "specs" / "002-more" / "contracts"
    other.mkdir(parents=True)
    (other / "openapi.json").write_text(json.dumps({"openapi": "3.0.1", "paths": {"/projects": {"get": {}}}}))

    result = cloudmake.run(JOB)

    assert counts(result, "spec:routes") == (0, 0, 1)
    assert any("GET /projects is declared otherwise in specs/002-more" in note for note in result.notes)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, "<html>Sign in</html>", "no JSON"),
        (200, '{"error": "unauthorised"}', "no OpenAPI document"),
        (200, '{"swagger": "2.0", "paths": {}}', "no OpenAPI document"),
        (200, "", "no JSON"),
        (200, "[" * 100_000, "nested too deeply"),
        (404, "{}", "HTTP 404"),
        (500, json.dumps(SERVED), "HTTP 500"),
        (302, json.dumps(SERVED), "HTTP 302"),
    ],
)
def test_a_document_that_is_none_is_never_no_drift(
    cloudmake: CloudMake, served: DocumentServer, status: int, body: str, says: str
) -> None:
    served.status, served.body = status, body
    served.headers["Location"] = served.url

    result = cloudmake.run(JOB, sources="routes")

    assert (result.status, says in (result.error or "")) == ("failed", True), result.error
    assert snapshots(cloudmake) == []


def test_a_server_that_hangs_is_waited_for_so_long_and_no_longer(
    cloudmake: CloudMake, served: DocumentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cath_dagster.cloudmake.drift.routes.TIMEOUT_SECONDS", 0.1)
    served.hangs = True

    result = cloudmake.run(JOB)

    assert (result.status, "no answer within 0.1 s" in (result.error or "")) == ("failed", True)
    assert counts(result, "spec:tokens") == (0, 0, 0)


@pytest.mark.parametrize(
    ("url", "says"),
    [("ftp://example.org/x", "https://api.example"), ("https://me:word@example.org/", "without a user")],
)
def test_a_url_that_is_none_is_named_by_its_variable(
    cloudmake: CloudMake, served: DocumentServer, url: str, says: str
) -> None:
    cloudmake.environ["CLOUDMAKE_OPENAPI_URL"] = url

    error = cloudmake.run(JOB).error or ""

    assert "CLOUDMAKE_OPENAPI_URL" in error
    assert says in error
    assert "word" not in error


@pytest.mark.parametrize(
    "content", ["a: [", "{}", "openapi: 3.1.0\npaths: {/a: {get: {parameters: [{$ref: 'o.yaml'}]}}}"]
)
def test_a_specification_that_cannot_be_read_is_never_no_drift(
    cloudmake: CloudMake, served: DocumentServer, root: Path, content: str
) -> None:
    (root / "specs" / "001-projects" / "contracts" / "openapi.yaml").write_text(content)

    result = cloudmake.run(JOB)

    assert (result.status, "specs/001-projects/contracts/openapi.yaml" in (result.error or "")) == ("failed", True)


def test_a_root_without_specifications_is_never_no_drift(
    cloudmake: CloudMake, served: DocumentServer, tmp_path: Path
) -> None:
    cloudmake.environ["CLOUDMAKE_SPEC_ROOT"] = str(tmp_path / "specs")

    assert "has no specs/*/contracts/openapi.yaml" in (cloudmake.run(JOB).error or "")


# The schema, by the whole way


def test_the_schema_is_compared_with_the_newest_snapshot(cloudmake: CloudMake, tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    snapshot = {"version": "7", "dialect": "postgresql", "tables": {}, "enums": {}}
    (tmp_path / "meta" / "0003_snapshot.json").write_text(json.dumps(snapshot))
    cloudmake.environ["CLOUDMAKE_MIGRATIONS_PATH"] = str(tmp_path)

    result = cloudmake.run(JOB, sources="schema")

    assert result.status == "success"
    assert "table projects" in snapshots(cloudmake)[0][4]["added"]
    assert not any("maintenance" in name for name in snapshots(cloudmake)[0][4]["added"])


@pytest.mark.stack
def test_from_drizzle_kit_to_the_database_and_back(cloudmake: CloudMake, tmp_path: Path) -> None:
    cloudmake.connection.execute("DROP SCHEMA public CASCADE; DROP SCHEMA auth CASCADE; CREATE SCHEMA public")
    head = 'import { pgTable, jsonb, text, timestamp, uuid, index } from "drizzle-orm/pg-core";'
    shirts = (
        'export const shirts = pgTable("shirts", { name: text("name").default("it\'s"), made: timestamp("made") });'
    )
    drifts = """export const drifts = pgTable("mcp_drift_snapshots", {
        id: uuid("id").primaryKey().defaultRandom(), server: text("server_name").notNull(), diff: jsonb("diff_json").notNull(),
        detected: timestamp("detected_at", { withTimezone: true }).notNull().defaultNow(),
        resolved: timestamp("resolved_at", { withTimezone: true }), status: text("status").notNull().default("detected"),
    }, (t) => [index("by_server").on(t.server, t.detected)]);"""
    cloudmake.environ["CLOUDMAKE_MIGRATIONS_PATH"] = str(generate(tmp_path, head + drifts, "drifts"))

    def drift_now() -> list[str]:
        result = cloudmake.run(JOB, sources="schema")
        assert result.status == "success", result.error
        diff = cloudmake.rows(f"SELECT diff_json FROM {TABLE} WHERE resolved_at IS NULL")
        return [name for (row,) in diff for kind in ("added", "removed", "changed") for name in row[kind]]

    assert cloudmake.run("run_migrations", confirm=True).error is None
    assert drift_now() == []
    generate(tmp_path, head + drifts + shirts, "shirts")
    assert drift_now() == ["table shirts"]
    assert cloudmake.run("run_migrations", confirm=True).error is None
    assert drift_now() == []
    cloudmake.connection.execute("ALTER TABLE shirts ALTER name SET DEFAULT 'its', ADD price int")
    assert drift_now() == ["column shirts.price", "column shirts.name (default)"]


# MCP servers


@pytest.fixture
def configured(cloudmake: CloudMake, tmp_path: Path) -> Path:
    cloudmake.environ["CLOUDMAKE_MCP_CONFIG"] = str(tmp_path / "config.json")
    return tmp_path


def configure(folder: Path, **servers: Any) -> None:
    (folder / "config.json").write_text(json.dumps({"mcpServers": servers}))


def test_a_server_that_cannot_be_asked_fails_the_run_and_keeps_its_row(cloudmake: CloudMake, configured: Path) -> None:
    configure(configured, nowhere={"command": str(configured / "missing"), "tools": ["a"]})
    before = {"source": "mcp", "added": [], "removed": ["tool a"], "changed": []}
    for name in ("nowhere", "forgotten"):
        cloudmake.insert(TABLE, server_name=name, diff_json=Jsonb(before), detected_at=cloudmake.ago(days=1))

    result = cloudmake.run(JOB, sources="mcp")

    assert (result.status, "server nowhere" in (result.error or "")) == ("failed", True)
    assert [row[:2] for row in snapshots(cloudmake)] == [("forgotten", "detected"), ("nowhere", "detected")]


def test_a_descriptor_that_is_no_json_fails_its_server(cloudmake: CloudMake, configured: Path) -> None:
    configure(configured, mine={"command": "missing"})
    (configured / "servers" / "mine").mkdir(parents=True)
    (configured / "servers" / "mine" / "two.json").write_text('{"name": "a"}{"name": "b"}')

    assert "two.json" in (cloudmake.run(JOB, sources="mcp").error or "")


def test_a_server_of_which_nothing_is_declared_is_not_asked_and_named(cloudmake: CloudMake, configured: Path) -> None:
    configure(configured, mine={"command": "missing"})

    result = cloudmake.run(JOB, sources="mcp")

    assert result.status == "success"
    assert any("mine no tools are declared" in note for note in result.notes)


@pytest.mark.stack
def test_tools_of_a_real_server_are_compared_with_the_configuration_and_the_descriptors(
    cloudmake: CloudMake, configured: Path
) -> None:
    command = {"command": sys.executable, "args": ["-m", "cath_dagster.development.simulators.mcp", "stdio"]}
    environ = {"PYTHONPATH": str(Path(__file__).parents[2])}
    names = ["catalogue.search", "catalogue.get", "catalogue.wipe", "catalogue.fail", "catalogue.gone"]
    configure(configured, catalogue={**command, "env": environ, "tools": names})
    (configured / "servers" / "catalogue").mkdir(parents=True)
    words = {"type": "object", "properties": {"words": {"type": "string", "description": "What to look for."}}}
    described = {
        "catalogue.search": {**words, "required": ["words"], "$schema": "https://json-schema.org/draft/2020-12/schema"},
        "catalogue.get": words,
    }
    for name, schema in described.items():
        (configured / "servers" / "catalogue" / f"{name}.json").write_text(
            json.dumps({"name": name, "inputSchema": schema})
        )
    cloudmake.insert(
        TABLE, server_name="forgotten", diff_json=Jsonb({"source": "mcp"}), detected_at=cloudmake.ago(days=1)
    )

    result = cloudmake.run(JOB, sources="mcp")

    assert result.error is None
    forgotten, found = snapshots(cloudmake)
    assert forgotten[:2] == ("forgotten", "resolved")
    assert found[4] == {
        "source": "mcp",
        "added": ["tool catalogue.reveal"],
        "removed": ["tool catalogue.gone"],
        "changed": ["tool catalogue.get (input schema)"],
    }


# The database as it may be


def test_rows_that_a_policy_hides_are_unreadable_and_not_nothing(cloudmake: CloudMake) -> None:
    role = f"role_{os.urandom(4).hex()}"
    cloudmake.connection.execute(
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA maintenance TO {role};"
        f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA maintenance, public TO {role};"
        "ALTER TABLE design_tokens ENABLE ROW LEVEL SECURITY;"
        f"ALTER TABLE {TABLE} DISABLE ROW LEVEL SECURITY"
    )
    url = cloudmake.environ["CLOUDMAKE_DATABASE_URL"]
    cloudmake.environ["CLOUDMAKE_DATABASE_URL"] = f"{url}{'&' if '?' in url else '?'}user={role}"
    try:
        result = cloudmake.run(JOB)
    finally:
        cloudmake.connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert (result.status, "design_tokens" in (result.error or "")) == ("refused", True), result.error


def test_the_databases_of_the_orm_lack_a_constraint_and_serve_as_well(cloudmake: CloudMake) -> None:
    with psycopg.connect(cloudmake.url) as connection:
        connection.execute(f"ALTER TABLE {TABLE} ALTER COLUMN server_name TYPE varchar(128)")
        connection.commit()
    add_token(cloudmake, "brand", "#fff")

    assert cloudmake.run(JOB).status == "success"
