"""Plugins that do not work, and what is known of their health: nothing here asks a plugin anything."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from cath_dagster.core.model.check import Check, Severity, Verdict
from cath_dagster.core.postgres.database import Database
from cath_dagster.hay.tables import plugin_instances, plugin_registry

KNOWN_FOR = timedelta(minutes=30)
"""A worker that is used is looked at when it is started and taken again, at the latest after eleven minutes."""
SUBJECTS = 200


def is_in_error() -> sa.ColumnElement[bool]:
    """Return whether an instance is to work, does not, and says why."""
    c = plugin_instances.c
    is_failed = sa.or_(c.runtime_state == "error", c.status == "error")
    return sa.and_(c.enabled, is_failed, c.last_error.is_not(None))


def is_broken() -> sa.ColumnElement[bool]:
    """Return whether a plugin of the registry is not there, or cannot be installed, built or read."""
    c = plugin_registry.c
    return sa.or_(
        c.status == "not_found",
        c.metadata_state == "error",
        c.last_install_error.is_not(None),
        c.last_build_error.is_not(None),
    )


def is_stale(as_of: datetime) -> sa.ColumnElement[bool]:
    """Return whether an instance's health is told, and nobody has looked for long."""
    c = plugin_instances.c
    looked_at = sa.func.coalesce(c.last_health_check, c.created_at)
    return sa.and_(c.health_status.in_(("healthy", "unhealthy")), looked_at < as_of - KNOWN_FOR)


def read_ids(connection: sa.Connection, table: sa.Table, which: sa.ColumnElement[bool]) -> list[str]:
    """Return the ids of the rows that match: what an error says may name a token or a person, and goes nowhere."""
    query = sa.select(sa.cast(table.c.id, sa.Text)).where(which).order_by(table.c.id)
    return list(connection.scalars(query))


def _judge(database: Database, table: sa.Table, which: sa.ColumnElement[bool], says: str) -> Verdict:
    ids = database.transaction(lambda connection: read_ids(connection, table, which))
    message = f"{len(ids)} {says}" if ids else ""
    return Verdict(not ids, message, {table.name: len(ids)}, tuple(ids[:SUBJECTS]))


def judge_instances(database: Database, at: datetime) -> Verdict:
    """Find instances that are to work and do not."""
    del at
    says = "enabled plugin instances are in error; their last_error says why, in the service"
    return _judge(database, plugin_instances, is_in_error(), says)


def judge_registry(database: Database, at: datetime) -> Verdict:
    """Find plugins that are missing or broken."""
    del at
    says = "plugins of the registry are missing, or could not be installed, built or read"
    return _judge(database, plugin_registry, is_broken(), says)


INSTANCES_CHECK = Check[Database](
    name="no_instance_in_error",
    asset=plugin_instances.name,
    description="No enabled plugin instance is in error.",
    evaluate=judge_instances,
)
REGISTRY_CHECK = Check[Database](
    name="no_broken_plugin",
    asset=plugin_registry.name,
    description="Every plugin of the registry is there, installed, built and readable.",
    severity=Severity.WARN,
    evaluate=judge_registry,
)
