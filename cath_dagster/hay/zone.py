"""Refuse a database whose own zone is not UTC: there the service's naive instants are not what the jobs take them for."""

import sqlalchemy as sa

from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.run.job_run import JobRun

UTC_NAMES = frozenset(
    f"{area}{name}"
    for area in ("", "etc/")
    for name in ("utc", "uct", "universal", "zulu", "gmt", "gmt0", "gmt+0", "gmt-0", "greenwich")
)
"""What a server calls the zone that has no offset and no summer time."""

# A session of ours has set its own zone; what the database gives to a session that sets none is what RESET would bring back,
# unless the role has a zone of its own besides.
_ZONES = sa.text(
    """
    SELECT current_database(),
           (SELECT split_part(entry, '=', 2) FROM pg_db_role_setting, unnest(setconfig) AS entry
            WHERE setrole = 0 AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND entry ILIKE 'timezone=%'),
           EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) AS entry
                   WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = current_user) AND entry ILIKE 'timezone=%'
                     AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))),
           (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone')
    """
)


def check_zone(run: JobRun, settings: JobSettings) -> None:
    """Refuse the run unless the database's default zone, its own setting or else the server's, is UTC by any of its names."""
    del settings
    run.refuse(run.database.transaction(find_wrong_zone))


def find_wrong_zone(connection: sa.Connection) -> list[str]:
    """Return why naive instants cannot be read as UTC, with what to do; nothing where they can."""
    name, of_database, is_hidden, of_session = connection.execute(_ZONES).one()
    remedy = f"ALTER DATABASE \"{name}\" SET timezone TO 'UTC'; and let the service connect anew"
    if of_database is None and is_hidden:
        says = (
            f"the database {name} has no time zone of its own, and that of its server cannot be seen behind the role's; the service's "
            "instants without a zone could be of any"
        )
    else:
        zone = (of_database or of_session).strip("'\"")
        if zone.lower() in UTC_NAMES:
            return []
        says = f"the time zone of the database {name} is {zone}, so that the service's instants without a zone are not in UTC"
    return [f"{says}: {remedy}"]
