"""Purge tokens that have expired from the table by which several servers know which were used."""

from datetime import timedelta

from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.schedule import Every
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.hay import HAY, OWNER
from cath_dagster.hay.tables import dpop_token
from cath_dagster.hay.zone import check_zone


class DpopCacheCleanupSettings(PurgeSettings):
    """No period: a token says itself when it expires."""


def dpop_cache_cleanup(run: JobRun, settings: DpopCacheCleanupSettings) -> None:
    """Purge every token that expired strictly before the reference time."""
    (planned,) = run.plan(*purges(run, settings))
    run.purge(planned)


def purges(planning: Planning, settings: DpopCacheCleanupSettings) -> list[Purge]:
    """Return the purge of the expired tokens."""
    del settings
    return [
        Purge(
            table=dpop_token,
            rule="tokens that have expired",
            predicate=dpop_token.c.expires_at < planning.as_of,
            cutoff=planning.as_of,
            age=dpop_token.c.expires_at,
        )
    ]


SPEC = JobSpec(
    location=HAY,
    name="dpop_cache_cleanup",
    schedule=Every(timedelta(seconds=60)),
    enabled=False,
    timeout=timedelta(minutes=5),
    owner=OWNER,
    summary="Purges expired rows of maintenance.dpop_token, for servers that write it; off by default.",
    description=(
        "Deletes rows of maintenance.dpop_token whose expires_at has passed. The service keeps its cache in each server's memory, "
        "where no job reaches it and none is needed; for several servers the table is there for them to write. Off until "
        "somebody switches it on. An expired token is refused whether its row is there or not, so nothing is lost."
    ),
    settings=DpopCacheCleanupSettings,
    run=dpop_cache_cleanup,
    prepare=check_zone,
    database=DatabaseWork(
        targets=("dpop_token",),
        purges=purges,
        privileges={"maintenance.dpop_token": ("SELECT", "DELETE")},
    ),
)
