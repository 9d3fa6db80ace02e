"""The master keys of the environment: `CLOUDMAKE_MASTER_ENCRYPTION_KEY`, and while a rotation lasts `…_OLD`."""

from collections.abc import Mapping

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.sealing import Keyring, MasterKey
from cath_dagster.core.errors import MissingConfigurationError

NEW, OLD = (f"{CLOUDMAKE.prefix}_MASTER_ENCRYPTION_KEY", f"{CLOUDMAKE.prefix}_MASTER_ENCRYPTION_KEY_OLD")


def read_keyring(environ: Mapping[str, str]) -> Keyring:
    """Return the keys; raise `MissingConfigurationError` without one."""
    new, old = environ.get(NEW), environ.get(OLD)
    if not new:
        raise MissingConfigurationError(f"{NEW} not set; set it in the environment of the run")
    return Keyring(MasterKey(new, NEW), MasterKey(old, OLD) if old else None)
