"""The master keys of the environment: `CLOUDMAKE_MASTER_ENCRYPTION_KEY`, and while a rotation lasts `…_OLD`."""

from collections.abc import Mapping

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.sealing import Keyring, MasterKey
from cath_dagster.core.errors import MissingConfigurationError

VARIABLE = "MASTER_ENCRYPTION_KEY"
NEW, OLD = (f"{CLOUDMAKE.prefix}_{VARIABLE}", f"{CLOUDMAKE.prefix}_{VARIABLE}_OLD")


def read_keyring(environ: Mapping[str, str]) -> Keyring:
    """Return the keys; raise `MissingConfigurationError` without one, and `MaintenanceError` for one that is too short."""
    new, old = environ.get(NEW), environ.get(OLD)
    if not new:
        raise MissingConfigurationError(f"{NEW} not set; set it in the environment of the run")
    # There must be a way away from a key that is too short.
    return Keyring(MasterKey(new, NEW), MasterKey(old, OLD, shortest=1) if old and old != new else None)
