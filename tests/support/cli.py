"""The command line on a test's database, and what it says."""

import contextlib
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from psycopg import sql

from tests.support.command import Done, call
from tests.support.service import Service

SECRET = "hunter2"

SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(0.02); RETURN OLD; END $$;
CREATE TRIGGER slow BEFORE DELETE ON ingestion_log FOR EACH ROW EXECUTE FUNCTION slow()
"""


def run(service: Service, job: str, *arguments: str) -> Done:
    """Run a job as of the service's reference time."""
    return call(service.environ, "run", job, "--as-of", service.as_of.isoformat(), *arguments)


def result_of(done: Done) -> dict[str, Any]:
    """Return the one object on standard output."""
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


def findings(environ: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call(environ, "doctor", "--json").stdout)
    return found


def problems(environ: dict[str, str]) -> dict[str, str]:
    return {item["subject"]: item["says"] for item in findings(environ) if item["level"] == "problem"}


def add_entries(service: Service, count: int, days: float = 91) -> None:
    service.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), %s, 'SNL', '1', 'SUCCESS' FROM generate_series(1, %s)",
        (service.days_ago(days), count),
    )


@contextlib.contextmanager
def role_without_rights(service: Service) -> Iterator[tuple[sql.Identifier, str]]:
    """Yield a role that may log in and no more, and the database's URL with it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    role = sql.Identifier(name)
    service.connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(SECRET)))
    parts = urlsplit(service.url)
    where = parts.netloc.rpartition("@")[2]
    try:
        yield role, urlunsplit(parts._replace(netloc=f"{name}:{SECRET}@{where}"))
    finally:
        service.connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        service.connection.execute(sql.SQL("DROP ROLE {}").format(role))


@contextlib.contextmanager
def server_that_refuses_the_password() -> Iterator[int]:
    """Speak PostgreSQL's protocol as far as the login: ask for a password, refuse it. Yield the port."""

    def message(kind: bytes, body: bytes) -> bytes:
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    said = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "someone"\0\0'

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(5)
                client.recv(4_096)
                client.sendall(message(b"R", (3).to_bytes(4, "big")))
                client.recv(4_096)
                client.sendall(message(b"E", said))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
