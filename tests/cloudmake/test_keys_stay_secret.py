"""Neither a key nor what it encrypts comes to light: in no statement, server log, trace, event, ledger, audit or output."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.openpgp import decrypt, from_column
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.keys import (
    NEW_KEY,
    OLD_KEY,
    OTHER_KEY,
    PLAINTEXT,
    add_metadata,
    add_signing_key,
    add_stored,
    add_wrapped,
    set_keys,
)
from tests.support.collector import Collector, collecting
from tests.support.command import call_process
from tests.support.dagster_internals import ReconstructableRepository
from tests.support.databases import Databases
from tests.support.servers import Primary, primary
from tests.support.warm import TELEMETRY

pytestmark = pytest.mark.stack

LOUD = {"log_statement": "'all'", "log_min_duration_statement": "0", "log_parameter_max_length_on_error": "-1"}


@pytest.fixture(scope="module")
def loud() -> Iterator[tuple[Primary, Databases]]:
    """Yield a server that writes down every statement with its parameters."""
    with primary(**LOUD) as server:
        databases = Databases(server.url("postgres"), {})
        yield server, databases
        databases.drop_templates()


@pytest.fixture
def cloudmake(loud: tuple[Primary, Databases]) -> Iterator[CloudMake]:
    _, databases = loud
    as_of = datetime(2026, 11, 18, 6, 0, tzinfo=UTC)
    with (
        databases.copy(databases.template(CLOUDMAKE.name)) as url,
        CloudMake.open(url, as_of=as_of) as opened,
    ):
        yield opened


def dagster_says(cloudmake: CloudMake, job: str, config: dict[str, Any], home: Path) -> list[str]:
    """Run a job in Dagster, and return all that it has kept."""
    home.mkdir()
    code = ReconstructableRepository.for_module("cath_dagster.cloudmake.definitions", "defs")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in cloudmake.environ.items():
            patch.setenv(name, value)
        instance = stack.enter_context(dg.instance_for_test(temp_dir=str(home), set_dagster_home=False))
        given = {"as_of": cloudmake.as_of.isoformat(), **config}
        result = dg.execute_job(code.get_reconstructable_job(job), instance, run_config=given)
        events = [f"{entry}\n{entry.user_message}" for entry in instance.all_logs(result.run_id)]
        files = [path.read_bytes().decode(errors="replace") for path in home.rglob("*") if path.is_file()]
    return [*events, *files]


def kept(cloudmake: CloudMake) -> list[str]:
    tables = ("maintenance.ledger_event", "maintenance.master_key_rotation", "maintenance.jwks", "admin_audit_logs")
    return [str(cloudmake.rows(f"SELECT row_to_json(r)::text FROM {table} r")) for table in tables]


def signing_secrets(cloudmake: CloudMake) -> list[str]:
    """Return the inner lines of every private key, and every shared secret."""
    texts = [row[0] for row in cloudmake.rows("SELECT encrypted_secret FROM jwt_keys")]
    found = [decrypt(from_column(text), NEW_KEY).content.decode() for text in texts]
    return [line for text in found for line in text.splitlines() if len(line) > 20 and "PRIVATE KEY" not in line]


def test_nothing_of_a_rotation_comes_to_light(
    cloudmake: CloudMake,
    loud: tuple[Primary, Databases],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, _ = loud
    set_keys(cloudmake)
    add_signing_key(cloudmake, days=90, key=OLD_KEY)
    add_signing_key(cloudmake, days=1, retired_days=0.5, key=OLD_KEY, algorithm="HS256")
    add_metadata(cloudmake)
    add_stored(cloudmake)
    add_wrapped(cloudmake)
    with collecting() as collector:
        cloudmake.environ |= collector.otlp
        said = dagster_says(cloudmake, "master_key_rotation", {"confirm": True}, tmp_path / "first")
        said += dagster_says(cloudmake, "jwt_key_rotation", {}, tmp_path / "second")
        said += rotated_by_command(cloudmake)
        add_metadata(cloudmake, OTHER_KEY)
        said += dagster_says(cloudmake, "master_key_rotation", {"confirm": True}, tmp_path / "refused")
        traces = traced(collector)
    said += [*kept(cloudmake), *capfd.readouterr(), *(record.getMessage() for record in caplog.records)]

    log = (server.home / "server.log").read_text(encoding="utf-8", errors="replace")
    everything = "\n".join([*said, traces, log])
    assert "UPDATE public.secrets_metadata" in log
    ciphertext = cloudmake.value("SELECT encrypted_metadata FROM secrets_metadata ORDER BY created_at LIMIT 1")
    assert ciphertext in log, "the server has written down no parameters"
    assert "cloudmake/master_key_rotation" in traces
    secrets = [NEW_KEY, OLD_KEY, OTHER_KEY, PLAINTEXT, "PRIVATE KEY", *signing_secrets(cloudmake)]
    assert len(secrets) > 8
    for secret in secrets:
        for form in (secret, json.dumps(secret)[1:-1], secret.encode().hex()):
            at = everything.find(form)
            assert at < 0, f"a secret stands after: {everything[max(0, at - 200) : at]}"


def rotated_by_command(cloudmake: CloudMake) -> list[str]:
    arguments = ("run", "jwt_key_rotation", "--set", "confirm=true", "--set", "algorithm=HS256", "--json")
    done = call_process(cloudmake.environ, *arguments, modules=TELEMETRY)
    assert done.returncode == 0, done.stderr
    return [done.stdout, done.stderr]


def traced(collector: Collector) -> str:
    return "\n".join(body.decode(errors="replace") for _, body in collector.posted)
