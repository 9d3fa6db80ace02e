"""One door leads to the environment, every variable of ours may lie in a file, and README knows them all."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.exporters import find_destinations
from cath_dagster.adapters.logs import VARIABLE, is_json
from cath_dagster.adapters.mounted import MountedEnvironment, read_unmounted
from cath_dagster.adapters.ping import ping_url
from cath_dagster.bon import BON
from cath_dagster.cath import CATH
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.operations.alerts import AlertSettings, read_alert_settings
from cath_dagster.orchestration.config import check_config
from cath_dagster.orchestration.stopped import default_status, schedules_word
from cath_dagster.registry import all_specs, locations
from tests.support.collector import collecting
from tests.support.command import call

PACKAGE = Path(__file__).parents[1] / "cath_dagster"
DOOR = "adapters/mounted.py"
Mount = Callable[[str, str], None]
OS = ("os", "posix", "nt")
READERS = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
OTHER_WAYS = {"expandvars", "envvar", "auto_envvar_prefix", "BaseSettings", "EnvVar"}
"""How libraries read it for whoever asks them to."""
WITHIN_DEVELOPMENT = {"inherited", "forget"}


def reads_of(path: Path) -> Iterator[str]:
    """Yield what a file does with the process's environment, or could do with the module that has it."""
    tree = ast.parse(path.read_text())
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    names = {name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in bound_to_os(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in OS:
            yield from (f"import of {each.name}" for each in node.names if each.name in READERS | {"*"})
        elif isinstance(node, ast.Name) and node.id in names:
            yield from use_of(node, parents[node])
        elif isinstance(node, ast.Call) and node.args and ast.unparse(node.args[0]) in map(repr, OS):
            yield ast.unparse(node)
        yield from OTHER_WAYS & {getattr(node, name, None) for name in ("attr", "id", "arg")}


def bound_to_os(node: ast.Import) -> Iterator[str]:
    """Yield the names by which a module has the module that has the environment."""
    for each in node.names:
        if each.name.partition(".")[0] in OS:
            yield each.asname or each.name.partition(".")[0]


def use_of(name: ast.Name, parent: ast.AST) -> Iterator[str]:
    """Yield what is done with that module, if it may read the environment."""
    if not isinstance(parent, ast.Attribute):
        yield f"{name.id} itself"
    elif parent.attr in READERS | {"__dict__"}:
        yield ast.unparse(parent)


def test_nothing_touches_the_environment_past_the_door() -> None:
    files = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}

    past = {name: list(reads_of(path)) for name, path in files.items() if name != DOOR}

    assert {name: reads for name, reads in past.items() if reads} == {}
    assert "os.environ" in list(reads_of(files[DOOR]))


@pytest.mark.parametrize(
    "text",
    [
        "import os\na = os.environ['A']",
        "import os as system\nb = system.getenv('B')",
        "from os import getenv",
        "from os import *",
        "import os\nc = dict(vars(os))",
        "import os\nd = os.__dict__",
        "import posix\ne = posix.environ",
        "import importlib\nf = importlib.import_module('os')",
        "import typer\ng = typer.Option(envvar='G')",
        "import os.path\nh = os.path.expandvars('$H')",
        "import os.path\nh = os.environ",
        "import dagster as dg\ni = dg.EnvVar('I')",
    ],
)
def test_a_reader_past_the_door_would_be_seen(tmp_path: Path, text: str) -> None:
    (tmp_path / "sly.py").write_text(text)

    assert list(reads_of(tmp_path / "sly.py")) != []


def test_a_variable_that_may_lie_in_a_file_is_not_read_past_its_file() -> None:
    with pytest.raises(KeyError, match="MountedEnvironment"):
        read_unmounted("CATH_SCHEDULES")


def test_a_job_neither_forgets_variables_nor_hands_all_of_them_on() -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "cath_dagster.adapters.mounted"
        if WITHIN_DEVELOPMENT & {each.name for each in node.names}
    }

    assert all(name.startswith("development/") for name in users)


# Every class of variable, from a file


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mount:
    """Have a variable's value in a file."""

    def put(name: str, value: str) -> None:
        path = tmp_path / name.lower()
        path.write_text(f"{value}\n")
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(f"{name}_FILE", str(path))

    return put


@pytest.mark.parametrize("location", locations(), ids=lambda location: str(location.name))
def test_a_file_puts_a_location_s_schedules_on_standby(mount: Mount, location: CodeLocation) -> None:
    mount(f"{location.prefix}_SCHEDULES", "standby")

    assert schedules_word(location) == "standby"
    assert default_status(location) is dg.DefaultScheduleStatus.STOPPED


def test_schedules_whose_file_cannot_be_read_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATH_SCHEDULES_FILE", "/nowhere/schedules")

    with pytest.raises(ConfigurationError, match="CATH_SCHEDULES_FILE"):
        default_status(CATH)


@pytest.mark.parametrize("spec", all_specs(), ids=lambda spec: str(spec.key))
def test_a_file_holds_any_setting_of_any_job(mount: Mount, spec: JobSpec) -> None:
    for key in spec.settings.model_fields:
        mount(f"{spec.location.name}_{spec.name}_{key}".upper(), "no such value \x01")

    if spec.settings.model_fields:
        with pytest.raises(dg.DagsterInvalidInvocationError, match=r"no text|no such value"):
            check_config(spec, {})


def test_a_file_holds_any_setting_of_the_alerts(mount: Mount) -> None:
    values = {"alert_urls": "json://127.0.0.1/x", "env_name": "Demo", "ui_url": "https://ui", "locations": "cath bon"}
    given = {key: values.get(key, "70") for key in AlertSettings.model_fields if key != "runbook_url"}
    for key, value in given.items():
        mount(f"OPERATIONS_{key.upper()}", value)

    read = read_alert_settings(MountedEnvironment())

    assert {key: str(getattr(read, key)) for key in given} == given


def test_a_file_holds_the_address_of_a_switch(mount: Mount) -> None:
    spec = next(spec for spec in all_specs() if spec.name == "clear_audit")
    mount("CATH_PING_URL", "https://switch/key")
    assert ping_url(spec, MountedEnvironment()) == "https://switch/key/cath-clear-audit"

    mount("CATH_CLEAR_AUDIT_PING_URL", "https://switch/own")
    assert ping_url(spec, MountedEnvironment()) == "https://switch/own"


def test_a_file_says_that_log_lines_are_json(mount: Mount) -> None:
    mount(VARIABLE, "json")

    assert is_json(MountedEnvironment())


def test_a_file_holds_the_headers_of_telemetry(mount: Mount) -> None:
    mount("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret,x-tenant=t")
    mount("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "api-key=other")
    with collecting() as collector:
        mount("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        (destination,) = find_destinations(MountedEnvironment())
        opened = destination.open()
        opened.spans.export([])
        opened.logs.export([])

    assert "secret" not in repr(destination)
    assert (collector.headers["/v1/traces"]["api-key"], collector.headers["/v1/traces"]["x-tenant"]) == ("secret", "t")
    assert collector.headers["/v1/logs"]["api-key"] == "other"


def test_files_hold_template_ids_and_the_address_of_the_provider(mount: Mount) -> None:
    key = "name-" + "-".join(["00000000-0000-0000-0000-000000000000"] * 2)
    mount("BON_NOTIFY_API_KEY", key)
    mount("BON_NOTIFY_TEMPLATE_OVERDUE_DIGEST", "11111111-1111-1111-1111-111111111111")

    mailer = EnvironmentBackends(BON.prefix).mailer()

    assert mailer._templates == {"overdue_digest": "11111111-1111-1111-1111-111111111111"}  # type: ignore[attr-defined]


def test_the_command_line_lists_and_heeds_a_setting_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "days").write_text("30\n")
    name = "CATH_CLEAR_AUDIT_AUDIT_LOG_RETENTION_DAYS"

    listed = call({f"{name}_FILE": str(tmp_path / "days")}, "jobs", "--settings")
    broken = call({"CATH_DAGSTER_LOG_FORMAT_FILE": "/nowhere/format"}, "run", "clear_audit")

    assert f"{name}  default 90, set to 30" in listed.stdout
    assert (broken.returncode, "CATH_DAGSTER_LOG_FORMAT_FILE" in broken.stderr) == (2, True)


# README's table

WORD = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+_?")
NO_VARIABLES = re.compile(
    r"ASSET_\w+|COMPLETED_\w+|PI_AAD|B2C_IDAM|CFT_IDAM|CRIME_IDAM|SYSTEM_ADMIN|LOCATION_ID|NEON_BRANCH(_ID)?|\w+_PUBLIC_"
    r"|\w+_HEAD|GIT_INDEX_FILE|HALF_OPEN|NOT_STARTED"
)
"""Words in capitals that are values of a service or of Dagster."""
UNSAID = re.compile(r"APPLICATIONINSIGHTS_\w+_DISABLED(_ALL)?|CATH_DAGSTER_TEMPORARY_STORAGE|SQL_ASCII")
"""What nobody is to set, and what only looks like a variable."""
NAMED = re.compile(r"`(…?[A-Z<][A-Z0-9_<>*]+)`")


def words_of_the_code() -> set[str]:
    """Return all that looks like a variable, without the location's prefix where it is put before it."""
    files = [path for path in PACKAGE.rglob("*.py") if not {"development", "migrations"} & set(path.parts)]
    texts = (
        node.value.lstrip("_")
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    words = {text for text in texts if WORD.fullmatch(text) and not NO_VARIABLES.fullmatch(text)}
    # Those of a single word.
    return words | {f"OPERATIONS_{key.upper()}" for key in AlertSettings.model_fields} | {"SCHEDULES", "ENVIRONMENT"}


def variables_of_the_tables() -> set[str]:
    """Return what README and docs/alerts.md list, `…` standing for a beginning and `*` for an end."""
    texts = [(PACKAGE.parent / name).read_text() for name in ("README.md", "docs/alerts.md")]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("| `")]
    return {name for line in lines for name in NAMED.findall(line) if "_" in name}


def is_meant(word: str, name: str) -> bool:
    """Return whether a word of the code is, or makes, the variable that a table names."""
    if name.endswith("*"):
        return word.startswith(name.rstrip("*"))
    if word.endswith("_"):
        return word in name
    return name == word or name.lstrip("…").endswith(f"_{word}") or (name[0] == "…" and word.endswith(name[1:]))


def test_every_variable_that_the_code_reads_stands_in_a_table() -> None:
    tables = variables_of_the_tables()

    unsaid = [word for word in words_of_the_code() if not any(is_meant(word, name) for name in tables)]

    assert sorted(word for word in unsaid if not UNSAID.fullmatch(word)) == []


def test_every_variable_in_a_table_is_read() -> None:
    words = words_of_the_code()
    templates = [name for name in variables_of_the_tables() if name.startswith("…_")]

    unread = [name for name in variables_of_the_tables() if not any(is_meant(word, name) for word in words)]

    assert sorted(set(unread) - set(templates) - {"SSL_CERT_FILE"}) == []
