"""What we encrypt is read by pgcrypto and by GnuPG, and what they encrypt by us."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.openpgp import MOST_BYTES, decrypt, encrypt, from_column, to_column
from cath_dagster.cloudmake.openpgp_packets import FramingError
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.keys import NEW_KEY, OLD_KEY, add_stored, set_keys, under
from tests.support.databases import Databases
from tests.support.parts import find_program, missing
from tests.support.servers import postgres_15

pytestmark = pytest.mark.stack

URL = "TEST_PGCRYPTO_URL"
"""A superuser's URL of a server with contrib, in place of Debian's."""
TEXTS = ("", "é", "a secret\nof lines\n", "x" * 200, "y" * 9_000, "long " * 40_000)


# pgcrypto


@pytest.fixture(scope="module")
def with_pgcrypto() -> Iterator[Databases]:
    """Yield a server that has pgcrypto."""
    if url := os.environ.get(URL):
        databases = Databases(url, {})
        _check_pgcrypto(url)
        yield databases
        databases.drop_templates()
        return
    with postgres_15() as cluster:
        _check_pgcrypto(cluster.url("postgres"))
        databases = Databases(cluster.url("postgres"), {})
        yield databases
        databases.drop_templates()


def _check_pgcrypto(url: str) -> None:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'pgcrypto'").fetchone()
    if found is None:
        missing(f"the server has no pgcrypto; apt-get install postgresql-contrib, or set {URL}")


@pytest.fixture
def cloudmake(with_pgcrypto: Databases) -> Iterator[CloudMake]:
    as_of = datetime(2026, 11, 18, 6, 0, tzinfo=UTC)
    with (
        with_pgcrypto.copy(with_pgcrypto.template(CLOUDMAKE.name)) as url,
        CloudMake.open(url, as_of=as_of) as opened,
    ):
        opened.connection.execute("CREATE EXTENSION IF NOT EXISTS pgcrypto")
        yield opened


def test_pgcrypto_reads_what_is_written(cloudmake: CloudMake) -> None:
    stored = [to_column(encrypt(text.encode(), NEW_KEY)) for text in TEXTS]
    binary = to_column(encrypt(b"\x00\xff", NEW_KEY, kind="b"))

    read = "SELECT array_agg(pgp_sym_decrypt(value::bytea, %s) ORDER BY n) FROM unnest(%s::text[]) WITH ORDINALITY AS v (value, n)"
    assert cloudmake.value(read, NEW_KEY, stored) == list(TEXTS)
    assert cloudmake.value("SELECT pgp_sym_decrypt_bytea(%s::text::bytea, %s)", binary, NEW_KEY) == b"\x00\xff"
    with pytest.raises(psycopg.errors.ExternalRoutineInvocationException, match="Wrong key"):
        cloudmake.value("SELECT pgp_sym_decrypt(%s::text::bytea, %s)", stored[1], OLD_KEY)


@pytest.mark.parametrize(
    "options",
    [
        "",
        "cipher-algo=aes192",
        "cipher-algo=aes256",
        "compress-algo=1",
        "compress-algo=2, compress-level=9",
        "sess-key=1, cipher-algo=aes256",
        "s2k-mode=0",
        "s2k-mode=1",
        "s2k-count=1024, s2k-digest-algo=sha512",
        "unicode-mode=1",
    ],
)
def test_what_pgcrypto_writes_is_read(cloudmake: CloudMake, options: str) -> None:
    rows = cloudmake.rows(
        "SELECT pgp_sym_encrypt(t, %s, %s)::text FROM unnest(%s::text[]) AS t", OLD_KEY, options, list(TEXTS)
    )

    assert {decrypt(from_column(text), OLD_KEY).content.decode() for (text,) in rows} == set(TEXTS)


def test_what_pgcrypto_writes_without_a_checksum_is_refused(cloudmake: CloudMake) -> None:
    text = cloudmake.value("SELECT pgp_sym_encrypt('x', %s, 'disable-mdc=1')::text", OLD_KEY)

    with pytest.raises(FramingError, match="without a checksum"):
        decrypt(from_column(text), OLD_KEY)


def test_a_table_that_pgcrypto_filled_is_rotated_and_read_by_it(cloudmake: CloudMake) -> None:
    set_keys(cloudmake)
    options = ["", "cipher-algo=aes256", "compress-algo=2", "sess-key=1"]
    for option in options:
        cloudmake.connection.execute(
            "INSERT INTO secrets_metadata (project_id, environment_id, name, encrypted_metadata)"
            " SELECT gen_random_uuid(), gen_random_uuid(), 'N', pgp_sym_encrypt(%s || n, %s, %s)::text"
            " FROM generate_series(1, 30) AS n",
            ["é", OLD_KEY, option],
        )
    cloudmake.insert("jwt_keys", kid=str(uuid.uuid4()), encrypted_secret=to_column(encrypt(b"s", OLD_KEY)))
    add_stored(cloudmake)

    result = cloudmake.run("master_key_rotation", confirm=True)

    assert (result.status, result.error) == ("success", None)
    assert set(under(cloudmake)) == {"new"}
    read = "SELECT count(*) FROM secrets_metadata WHERE pgp_sym_decrypt(encrypted_metadata::bytea, %s) LIKE 'é%%'"
    assert cloudmake.value(read, NEW_KEY) == 30 * len(options)


# GnuPG


@pytest.fixture
def gpg() -> Iterator["Gpg"]:
    program = find_program("gpg", "gpg")
    find_program("gpg-agent", "gpg-agent")
    # A short path: the agent's socket lies in it.
    home = Path(tempfile.mkdtemp(prefix="gpg-"))
    try:
        yield Gpg(program, home)
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env={**os.environ, "GNUPGHOME": str(home)}, check=False)
        shutil.rmtree(home, ignore_errors=True)


class Gpg:
    """GnuPG with a home of its own, which is given its passphrase by a descriptor."""

    def __init__(self, program: Path, home: Path) -> None:
        self._command = [str(program), "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        self._home = home

    def run(self, content: bytes, *options: str, passphrase: str = NEW_KEY) -> bytes:
        given = self._home / "content"
        given.write_bytes(content)
        reader, writer = os.pipe()
        os.write(writer, passphrase.encode())
        os.close(writer)
        command = [*self._command, "--passphrase-fd", str(reader), "--output", "-", *options, str(given)]
        done = subprocess.run(command, capture_output=True, pass_fds=[reader], check=False)
        os.close(reader)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


def test_gpg_reads_what_is_written(gpg: Gpg) -> None:
    for text in TEXTS:
        assert gpg.run(encrypt(text.encode(), NEW_KEY), "--decrypt").decode() == text


@pytest.mark.parametrize(
    "options", [(), ("--cipher-algo", "AES"), ("--compress-algo", "zlib"), ("--compress-algo", "none"), ("--textmode",)]
)
def test_what_gpg_writes_is_read(gpg: Gpg, options: tuple[str, ...]) -> None:
    content = b"".join(number.to_bytes(2, "big").hex().encode() + b"\n" for number in range(20_000))

    opened = decrypt(gpg.run(content, "--symmetric", *options), NEW_KEY)

    assert opened.content.replace(b"\r\n", b"\n") == content
    assert len(content) < MOST_BYTES


def test_what_gpg_writes_otherwise_is_refused_by_name(gpg: Gpg) -> None:
    with pytest.raises(FramingError, match="Twofish"):
        decrypt(gpg.run(b"x", "--symmetric", "--cipher-algo", "TWOFISH"), NEW_KEY)
    with pytest.raises(FramingError, match="compressed in the way 03"):
        decrypt(gpg.run(b"x" * 500, "--symmetric", "--compress-algo", "bzip2"), NEW_KEY)
    with pytest.raises(FramingError, match="armoured text"):
        from_column(gpg.run(b"x", "--symmetric", "--armor").decode())
