"""One PostgreSQL for the whole suite, a fresh database for each test that asks, and a Notify that listens."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from cath_dagster.bon import BON
from cath_dagster.cath import CATH
from cath_dagster.development.local import forget_outside
from cath_dagster.development.postgres import EmbeddedPostgres
from cath_dagster.development.simulators.notify import NotifySimulator
from cath_dagster.development.simulators.oauth import OAuthProvider
from cath_dagster.development.simulators.smtp import SmtpServer
from tests.bon.bon import Bon
from tests.support.charts import share_drawn
from tests.support.databases import Databases
from tests.support.servers import memory, postgres_15, session_pooler, transaction_pooler  # noqa: F401
from tests.support.service import Service
from tests.support.statements import share_compiled

SERVER = "TEST_SUITE_SERVER"
"""Where the run's PostgreSQL is, for the workers of a parallel run."""
TEMPLATE = "TEST_SUITE_TEMPLATE"
"""The name of the run's template database, with CaTH's empty schema and our own tables."""
CHART = "DAGSTER_CHART"
"""Where the official Helm chart is, for the tests that render it; the one thing of Dagster's that is not forgotten."""
BON_TEMPLATE = "TEST_SUITE_BON_TEMPLATE"
"""The same with BON's."""

SERVER_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    # What is in memory anyway need not be twice; and each database that is dropped has all buffers looked through.
    "shared_buffers": "16MB",
    "max_connections": "200",
    "wal_level": "logical",
}

# The suite tries the same examples each time, `make test-fast` some of them; `--hypothesis-profile search` looks for new ones.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
settings.register_profile("suite", derandomize=True, max_examples=25, deadline=None, print_blob=True, phases=PHASES)
settings.register_profile("search", max_examples=2_000, deadline=None, print_blob=True, phases=PHASES)
settings.register_profile("fast", settings.get_profile("suite"), max_examples=5)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Start the server once, in the process that leads the run, and make the template databases."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A suite in the background of a shell was told to ignore Ctrl-C, and every process that a test starts with it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Hundreds of processes import the same modules: the first compiles them for all, whatever the shell says.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    chart = os.environ.get(CHART)
    forget_outside()
    if chart:
        os.environ[CHART] = chart
    url = os.environ.get("TEST_DATABASE_URL")
    if not url:
        # Durability costs time and protects nothing here. A logical replication slot needs its level of the log.
        home = Path(tempfile.mkdtemp(prefix="cath-dagster-test-", dir=memory()))
        cluster = EmbeddedPostgres(home, SERVER_SETTINGS)
        config.add_cleanup(partial(_stop, cluster))
        cluster.start()
        url = cluster.url("postgres")
    os.environ[SERVER] = url
    config.add_cleanup(partial(os.environ.__delitem__, SERVER))
    databases = Databases(url, {})
    config.add_cleanup(databases.drop_templates)
    for variable, location in ((TEMPLATE, CATH), (BON_TEMPLATE, BON)):
        os.environ[variable] = databases.make_template(location.name)
        config.add_cleanup(partial(os.environ.__delitem__, variable))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what rests on the server's version on an older PostgreSQL too, unless one server was asked for."""
    is_marked = metafunc.definition.get_closest_marker("both_versions") is not None
    if is_marked and "databases" in metafunc.fixturenames and not os.environ.get("TEST_DATABASE_URL"):
        older = pytest.param("databases_on_15", id="15", marks=pytest.mark.stack)
        metafunc.parametrize("databases", [pytest.param("suite_databases", id="18"), older], indirect=True)


def _stop(cluster: EmbeddedPostgres) -> None:
    cluster.stop()
    shutil.rmtree(cluster.home)


def database_url(name: str) -> str:
    """Return the libpq URL of another database on the suite's server."""
    return Databases(os.environ[SERVER], {}).url(name)


@pytest.fixture(scope="session", autouse=True)
def _shared_work() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        share_compiled(patch)
        share_drawn(patch)
        yield


@pytest.fixture(scope="session")
def suite_server() -> str:
    """Return the libpq URL of the suite's own server."""
    return os.environ[SERVER]


@pytest.fixture(scope="session")
def suite_databases(suite_server: str) -> Iterator[Databases]:
    """Yield the suite's own server, with what templates there are; those that a worker adds end with it."""
    databases = Databases(suite_server, {CATH.name: os.environ[TEMPLATE], BON.name: os.environ[BON_TEMPLATE]})
    yield databases
    databases.drop_templates()


@pytest.fixture(scope="session")
def databases_on_15() -> Iterator[Databases]:
    """Yield an older server, of this worker alone."""
    with postgres_15(wal_level="logical") as cluster:
        databases = Databases(cluster.url("postgres"), {})
        yield databases
        databases.drop_templates()


@pytest.fixture
def databases(request: pytest.FixtureRequest) -> Databases:
    """Return where the test's databases are made: on the suite's server, or as its parameter says."""
    found: Databases = request.getfixturevalue(getattr(request, "param", "suite_databases"))
    return found


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[str]:
    """Yield the libpq URL of a database with nothing in it."""
    with databases.copy() as url:
        yield url


@pytest.fixture
def cath_url(databases: Databases) -> Iterator[str]:
    """Yield the libpq URL of a database with CaTH's empty schema and our own tables."""
    with databases.copy(databases.template(CATH.name)) as url:
        yield url


@pytest.fixture
def bon_url(databases: Databases) -> Iterator[str]:
    """Yield the libpq URL of a database with BON's empty schema and our own tables."""
    with databases.copy(databases.template(BON.name)) as url:
        yield url


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        yield server


@pytest.fixture
def provider() -> Iterator[OAuthProvider]:
    with OAuthProvider() as started:
        yield started


@pytest.fixture
def notify() -> Iterator[NotifySimulator]:
    with NotifySimulator() as simulator:
        yield simulator


@pytest.fixture
def service(cath_url: str, notify: NotifySimulator, tmp_path: Path) -> Iterator[Service]:
    """Yield CaTH with an empty database, a blob store, a report store and a Notify."""
    with Service.open(cath_url, notify, tmp_path, as_of=datetime(2026, 11, 18, 1, 0, tzinfo=UTC)) as opened:
        yield opened


@pytest.fixture
def bon(bon_url: str, smtp: SmtpServer, provider: OAuthProvider) -> Iterator[Bon]:
    """Yield BON with an empty database, a mail server and a provider of tokens. It is six in the morning in Israel."""
    with Bon.open(bon_url, smtp, provider, as_of=datetime(2026, 11, 18, 4, 0, tzinfo=UTC)) as opened:
        yield opened
