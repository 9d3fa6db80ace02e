"""No value, token or key is in what a run leaves behind: output, Dagster, telemetry, our tables, and the server's own log."""

import base64
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.secrets import JOB, SCOPES, Secrets
from tests.support.collector import collecting
from tests.support.command import call
from tests.support.databases import Databases
from tests.support.exposure import WORD, Exposure
from tests.support.servers import primary

pytestmark = pytest.mark.stack

TOKEN, VALUE = f"{WORD}Token", f"{WORD}-value-of-a-secret"
MASTER_KEY = f"{WORD}-master-key-of-a-test-{WORD}-that-is-long"
OURS = ("public.secret_mappings", "public.secret_sync_events", "public.secret_audit", "public.github_api_quotas")


@pytest.fixture
def exposure(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Exposure]:
    with collecting() as collector:
        yield Exposure(tmp_path, capfd, caplog, monkeypatch, collector)


@contextlib.contextmanager
def logging_everything() -> Iterator[tuple[CloudMake, Path]]:
    """Yield a CloudMake on a server that writes every statement and parameter into its log."""
    with primary(log_statement="all", log_min_duration_statement="0", log_min_messages="debug1") as server:
        databases = Databases(server.url("postgres"), {})
        try:
            with (
                databases.copy(databases.template("cloudmake")) as url,
                CloudMake.open(url, as_of=datetime(2026, 11, 18, 6, 0, tzinfo=UTC)) as opened,
            ):
                yield opened, server.home / "server.log"
        finally:
            databases.drop_templates()


def test_a_run_that_writes_and_fails_says_nothing_of_what_it_was_given(exposure: Exposure) -> None:
    with logging_everything() as (cloudmake, log), Secrets.open(cloudmake) as secrets:
        secrets.github.token = TOKEN
        cloudmake.environ |= {"CLOUDMAKE_GITHUB_TOKEN": TOKEN, "CLOUDMAKE_MASTER_ENCRYPTION_KEY": MASTER_KEY}
        shop = secrets.add_project("shop", "production")
        secrets.add(shop, "API_KEY", VALUE, *SCOPES)
        secrets.add(shop, "URL_PROD", f"{VALUE} two")
        secrets.put(shop, "URL", f"{VALUE} three", "production")
        secrets.add(shop, "TOO_LONG", VALUE * 5_000)
        secrets.map(shop, "NO_VALUE")
        # GitHub, or a proxy, that says back what it was sent.
        secrets.github.fail_next(403, pattern="/codespaces/secrets$", message=f"Bad {TOKEN} indeed", times=2)
        secrets.github.fail_next(422, pattern="^PUT", message=f"Bad {TOKEN} indeed", times=2)

        exposure.fail(cloudmake, JOB)
        secrets.github.fail_next(401, message=f"{TOKEN} is none")
        for arguments in (("secrets", "validate"), ("secrets", "list", "shop"), ("jobs", JOB), ("doctor", "cloudmake")):
            done = call(cloudmake.environ, *arguments)
            exposure.said += [done.stdout, done.stderr]

        for table in (*OURS, "maintenance.secret_target", "maintenance.stored_secret", "maintenance.wrapped_key"):
            exposure.said += [str(row) for row in cloudmake.rows(f"SELECT row_to_json(r)::text FROM {table} r")]
        exposure.said += [str(request) + str(request.body) for request in secrets.github.requests]
        logged = log.read_text(errors="replace")

    assert "INSERT INTO maintenance.stored_secret" in logged
    assert "INSERT INTO maintenance.secret_target" in logged
    exposure.said.append(logged)
    forms = [
        form
        for secret in (VALUE, MASTER_KEY)
        for form in (secret.encode().hex(), base64.b64encode(secret.encode()).decode())
    ]
    exposure.assert_silent(*forms)
