"""Where a job runs: CloudMake's environment, never guessed, and the consent that some work needs."""

import enum

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.run.job_run import JobRun

VARIABLE = "ENVIRONMENT"


class Environment(enum.StrEnum):
    DEV = "dev"
    STAGING = "staging"
    PRODUCTION = "production"


ALIASES = {"development": Environment.DEV, "prod": Environment.PRODUCTION}
"""Other words that the service's own settings and provisioning have for these."""


def read_environment(run: JobRun) -> Environment:
    """Return which environment a run works on.

    Raises `MissingConfigurationError` where nothing is set, which is never taken for dev, and `ConfigurationError` for
    another word.
    """
    given = run.require(VARIABLE)[VARIABLE]
    try:
        return ALIASES.get(given) or Environment(given)
    except ValueError:
        known = ", ".join((*Environment, *ALIASES))
        raise ConfigurationError(f"CLOUDMAKE_{VARIABLE} is {given!r}; it may be one of {known}") from None


def require_confirm(run: JobRun, *, is_given: bool, because: str) -> None:
    """Refuse a run that nobody has confirmed; a dry run says that a real one would be refused."""
    if not is_given:
        run.refuse([f"{because}; run it with confirm (--set confirm=true, or --confirm)"])
