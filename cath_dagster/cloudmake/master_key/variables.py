"""Where the master keys come from: the key by which is written, and while a rotation lasts the old one."""

from collections.abc import Mapping

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.sealing import Keyring, MasterKey
from cath_dagster.core.errors import ConfigurationError, MissingConfigurationError

NEW, OLD = "MASTER_ENCRYPTION_KEY", "MASTER_ENCRYPTION_KEY_OLD"


def read_keyring(environ: Mapping[str, str]) -> Keyring:
    """Return the keys of an environment.

    Raises `ConfigurationError` where the new one is missing or too short, and where both are one.
    """
    new, old = (environ.get(f"{CLOUDMAKE.prefix}_{name}") for name in (NEW, OLD))
    if not new:
        raise MissingConfigurationError(f"{CLOUDMAKE.prefix}_{NEW} not set; set it in the environment of the run")
    if old == new:
        raise ConfigurationError(
            f"{CLOUDMAKE.prefix}_{NEW} and {CLOUDMAKE.prefix}_{OLD} are one key; the first is the new one, made by: "
            "cath-dagster keys generate --out FILE"
        )
    # Away from a short key there must be a way.
    return Keyring(
        MasterKey(new, f"{CLOUDMAKE.prefix}_{NEW}"),
        MasterKey(old, f"{CLOUDMAKE.prefix}_{OLD}", shortest=1) if old else None,
    )
