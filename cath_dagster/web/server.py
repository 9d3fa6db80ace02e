"""Start the console: settings, the pool of connections, and the server that listens."""

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from cath_dagster.adapters.dagster_graphql import DagsterGraphQL
from cath_dagster.adapters.postgres import open_pool
from cath_dagster.registry import all_specs, locations
from cath_dagster.web.console import Console
from cath_dagster.web.settings import ConsoleSettings, read_console_settings

APPLICATION_NAME = "console"
POOL = 10
"""Each request takes one; a launch holds it while Dagster is asked."""
GRACE_SECONDS = 3
"""For requests under way; a stream would never end by itself."""


@contextlib.contextmanager
def open_console(settings: ConsoleSettings) -> Iterator[Console]:
    """Yield a console on Dagster's database and web server; nothing is asked of either yet."""
    with open_pool(
        settings.database_url, variable="DAGSTER_POSTGRES_URL", application_name=APPLICATION_NAME, size=POOL
    ) as engine:
        yield Console(
            settings=settings,
            engine=engine,
            orchestrator=DagsterGraphQL(settings.dagster_url),
            clock=lambda: datetime.now(UTC),
            specs={spec.key: spec for spec in all_specs()},
        )


def serve(environ: Mapping[str, str], *, host: str | None = None, port: int | None = None) -> None:
    """Listen until a signal comes; raise `ConfigurationError` before anything listens."""
    settings = read_console_settings(environ, [each.name for each in locations()], host=host, port=port)
    import uvicorn

    from cath_dagster.web.app import create_app

    with open_console(settings) as console:
        uvicorn.run(
            create_app(console),
            host=settings.host,
            port=settings.port,
            # Who a person is hangs on the socket's peer: no header may change what we take for it.
            proxy_headers=False,
            server_header=False,
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
