"""Serve the console for a hundred jobs until it is ended: a process of its own, whose memory can be told."""

import dataclasses
import itertools
import sys
from collections.abc import Mapping

from fastapi import FastAPI

from cath_dagster.core.run.spec import JobSpec
from cath_dagster.registry import all_specs
from cath_dagster.web.app import create_app
from cath_dagster.web.console import Console
from cath_dagster.web.rights import EVERYWHERE, Role
from cath_dagster.web.server import open_console
from cath_dagster.web.settings import ConsoleSettings, parse_networks

JOBS = 100
HEADERS = {"X-Forwarded-User": "bench", "X-Forwarded-Groups": "bench"}


def hundred_specs() -> Mapping[str, JobSpec]:
    """Return a hundred jobs by `location/job`: the registry's, and those again by other names."""
    registered = all_specs()
    again = (
        dataclasses.replace(spec, name=f"{spec.name}_{time}") for time in itertools.count(2) for spec in registered
    )
    return {spec.key: spec for spec in itertools.islice(itertools.chain(registered, again), JOBS)}


def create_bench_app(console: Console) -> FastAPI:
    """Return the application of this console for a hundred jobs, in which loopback counts as the proxy."""
    settings = dataclasses.replace(
        console.settings,
        roles={"bench": {EVERYWHERE: Role.VIEWER}},
        trusted_proxies=parse_networks("127.0.0.1"),
    )
    return create_app(dataclasses.replace(console, settings=settings, specs=hundred_specs()))


def main(url: str, port: str) -> None:
    """Listen as `cath-dagster console` does."""
    import uvicorn

    settings = ConsoleSettings(database_url=url, dagster_url="http://127.0.0.1:9", port=int(port))
    with open_console(settings) as console:
        uvicorn.run(
            create_bench_app(console),
            host=settings.host,
            port=settings.port,
            proxy_headers=False,
            server_header=False,
            access_log=False,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
