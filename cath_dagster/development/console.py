"""The console beside the local stack: on loopback, with a link that signs its developer in once."""

import secrets

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.development.local import STORAGE, Local, Stack, answers, wait_until
from cath_dagster.operations import OPERATIONS

PORT = 3001


def start_console(stack: Stack, local: Local, *, web_port: int, port: int) -> str:
    """Start the console in a stack whose web server listens; return the link, whose code is good for one browser."""
    backends = EnvironmentBackends("LOCAL", {"LOCAL_DATABASE_URL": local.postgres.url(STORAGE)})
    with backends.disposed_engine("console") as engine:
        # The daemon's sensors make them too, some time after they start.
        migrate(engine, OPERATIONS)
    code = secrets.token_urlsafe(16)
    dagster = f"http://127.0.0.1:{web_port}"
    told = {"CONSOLE_DAGSTER_URL": dagster, "CONSOLE_UI_URL": dagster, "CONSOLE_SIGN_IN_CODE": code}
    beside = Stack({**stack.environ, **told}, stack.log_folder)
    beside.start("console", ["cath-dagster", "console", "--host", "127.0.0.1", "--port", str(port)])
    # Looked after and stopped with the others.
    stack.processes |= beside.processes
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(f"{address}/healthz"), "the console does not answer", stack)
    return f"{address}/sign-in?code={code}"
