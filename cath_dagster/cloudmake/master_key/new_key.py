"""Make a master key and write it where nobody but its owner reads it: into a new file, never onto a screen."""

import os
import secrets
from pathlib import Path

from cath_dagster.cloudmake.sealing import MasterKey
from cath_dagster.core.errors import ConfigurationError

BYTES = 32
OWNER_ONLY = 0o600


def write_new_key(path: Path) -> str:
    """Write a new key into a file that is not there yet; return its fingerprint.

    Raises `ConfigurationError` where something is there, a terminal or standard output included.
    """
    if str(path) == "-":
        raise ConfigurationError("a key is written into a file, and not to standard output: --out FILE")
    key = secrets.token_hex(BYTES)
    try:
        # Made by this very call: neither a link nor a device is followed, and nobody else has opened it before.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, OWNER_ONLY)
    except FileExistsError:
        raise ConfigurationError(f"{path} {_what_is(path)}; a key is written into a new file") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be made: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w") as file:
            # Without the end of a line, which some would take for a part of the key.
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
    return MasterKey(key, str(path)).fingerprint


def _what_is(path: Path) -> str:
    if path.is_char_device():
        return "is a terminal or another device"
    return "exists already, and what it holds may be in use"
