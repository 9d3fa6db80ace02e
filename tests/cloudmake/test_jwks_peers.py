"""Node's jose verifies tokens of our keys by the document that we publish, and sees a rotation."""

import contextlib
import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import jwt
import pytest

from cath_dagster.cloudmake.openpgp import decrypt, from_column
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.keys import NEW_KEY, add_signing_key, set_keys
from tests.support.peers import PEERS, find_node, find_peer

pytestmark = pytest.mark.stack

JOB = "jwt_key_rotation"


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback; yield its URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


class Verifier:
    """Node's jose in a process of its own, which keeps what it has fetched."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def verify(self, token: str) -> str:
        """Return the subject of a token, or the code of what is wrong with it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(token, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def verifier(library: str, url: str) -> Iterator[Verifier]:
    find_peer(library)
    command = [str(find_node()), str(PEERS / "verify_tokens.mjs"), library, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Verifier(process)
        finally:
            process.kill()


def sign(cloudmake: CloudMake, subject: str) -> str:
    """Sign a token by the active key, as the service does."""
    query = "SELECT kid, encrypted_secret, algorithm FROM jwt_keys WHERE active"
    ((kid, text, algorithm),) = cloudmake.rows(query)
    secret = decrypt(from_column(text), NEW_KEY).content.decode()
    return jwt.encode({"sub": subject}, secret, algorithm, headers={"kid": kid})


@pytest.mark.parametrize("library", ["jose", "jose-5"])
@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_jose_verifies_by_the_document_and_sees_a_rotation(
    cloudmake: CloudMake, tmp_path: Path, library: str, algorithm: str
) -> None:
    set_keys(cloudmake, old=None)
    cloudmake.environ["CLOUDMAKE_JWKS_URL"] = tmp_path.as_uri()
    add_signing_key(cloudmake, days=30, algorithm=algorithm)
    cloudmake.run(JOB)
    with serving(tmp_path) as url, verifier(library, f"{url}/jwks.json") as jose:
        first = sign(cloudmake, "first")
        before = jose.verify(first)

        cloudmake.run(JOB, confirm=True, algorithm=algorithm)
        second = sign(cloudmake, "second")
        through_grace = [jose.verify(first), jose.verify(second)]

        later = cloudmake.as_of + timedelta(hours=1)
        cloudmake.run(JOB, confirm=True, emergency=True, algorithm=algorithm, as_of=later)
        third = sign(cloudmake, "third")
        after_emergency = [jose.verify(third), jose.verify(first), jose.verify(second)]

    assert before == "first"
    assert through_grace == ["first", "second"]
    assert after_emergency == ["third", "ERR_JWKS_NO_MATCHING_KEY", "ERR_JWKS_NO_MATCHING_KEY"]
