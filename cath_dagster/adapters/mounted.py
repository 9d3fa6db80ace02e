"""The one door to the environment: where X is not set, X_FILE names a file that holds its value.

So secrets can be mounted, as Docker and Kubernetes do it, and stand in no process's environment. Every variable of ours is
read through `MountedEnvironment`, so that none is an exception. What others read in no file, and what a process hands to those
that it starts, has functions of its own.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from cath_dagster.core.errors import ConfigurationError

SUFFIX = "_FILE"
OF_OTHERS = {
    "DAGSTER_HOME": "Dagster's own, which looks into no file",
    "CATH_DAGSTER_TEMPORARY_STORAGE": "handed from a process to those that it starts; nobody sets it",
}
"""The variables that may be read past the files, each with why."""
MAX_BYTES = 65_536
"""No secret is as long; a file that is would be the wrong one."""


class MountedEnvironment(Mapping[str, str]):
    """Variables as they are asked for by name, listed with those that a file holds. A file is read when it is needed.

    Looking one up raises `ConfigurationError` where its file cannot be read, and where both are set.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, known: Mapping[str, str] | None = None) -> None:
        """Look into `environ`, by default the process's own; what is `known` is looked up nowhere."""
        self._environ = os.environ if environ is None else environ
        self._known = known or {}

    def __getitem__(self, name: str) -> str:
        if name in self._known:
            return self._known[name]
        value, path = self._environ.get(name), self._environ.get(name + SUFFIX)
        if not path:
            return self._environ[name]
        if value:
            raise ConfigurationError(f"{name} and {name}{SUFFIX} are both set; unset one of them")
        return _read(path, name + SUFFIX)

    def __iter__(self) -> Iterator[str]:
        mounted = {name.removesuffix(SUFFIX) for name, path in self._environ.items() if name.endswith(SUFFIX) and path}
        return iter({**self._known, **dict.fromkeys(self._environ), **dict.fromkeys(sorted(mounted))})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def read_unmounted(name: str) -> str | None:
    """Return a variable of `OF_OTHERS`, for which no file is looked into."""
    if name not in OF_OTHERS:
        raise KeyError(f"{name} is not one of {', '.join(OF_OTHERS)}: read it from a MountedEnvironment")
    return os.environ.get(name)


def hand_down(name: str, value: str) -> None:
    """Set a variable, unless it is set, for the libraries in this process and for the processes that it starts."""
    os.environ.setdefault(name, value)


def inherited(*, without: tuple[str, ...]) -> dict[str, str]:
    """Return what a process that is started inherits, but for the variables that begin so."""
    return {name: value for name, value in os.environ.items() if not name.startswith(without)}


def forget(beginnings: tuple[str, ...]) -> None:
    """Remove the variables that begin so from this process."""
    for name in [name for name in os.environ if name.startswith(beginnings)]:
        del os.environ[name]


def _read(path: str, variable: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{variable} names {path}, which cannot be read: {error.strerror}; name a file that this process may read"
        ) from None
    if len(content) > MAX_BYTES:
        raise ConfigurationError(
            f"{variable} names {path}, which is longer than {MAX_BYTES:,} bytes; is it the right one?"
        )
    try:
        # Editors and `echo` end a file with a line break, which is no part of a secret.
        value = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{variable} names {path}, which is no text in UTF-8") from None
    if not value or "\0" in value:
        wrong = "empty" if not value else "no text"
        raise ConfigurationError(f"{variable} names {path}, which is {wrong}; write the value into it")
    return value
