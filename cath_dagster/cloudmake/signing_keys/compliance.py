"""Whether signing keys are changed as the specification wants it (SC-011)."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from cath_dagster.cloudmake.audit import ENTITY_TYPE
from cath_dagster.cloudmake.signing_keys.rotation import ROTATION
from cath_dagster.cloudmake.signing_keys.stored import StoredKeys, read_keys
from cath_dagster.cloudmake.tables import admin_audit_logs
from cath_dagster.core.model.check import Verdict
from cath_dagster.core.postgres.database import Database

OLDEST = timedelta(days=92)
"""Of the active key: 90 days, and two in which a rotation may be late."""
CLOCKS_APART = timedelta(days=1)
"""A date that is later than a run's by more than this no clock has made."""
KEPT = timedelta(days=9)
"""Of a retired one: deleted after 8 days, by the daily run that comes then."""


def judge_rotation(database: Database, as_of: datetime) -> Verdict:
    """Judge the keys as they are stored, and whether the audit knows of each that was retired."""

    def read(connection: sa.Connection) -> tuple[StoredKeys, set[str | None]]:
        told = admin_audit_logs.c.changes_json["kid_out"].as_string()
        query = sa.select(told).where(
            admin_audit_logs.c.admin_user_id.is_(None),
            admin_audit_logs.c.entity_type == ENTITY_TYPE,
            admin_audit_logs.c.action_type == ROTATION,
        )
        return read_keys(connection), set(connection.scalars(query))

    keys, audited = database.transaction(read)
    retired = [key for key in keys.keys if not key.active and key.rotated_at is not None]
    old = [key.kid for key in keys.active if as_of - key.created_at > OLDEST]
    kept = [key.kid for key in retired if key.rotated_at is not None and as_of - key.rotated_at > KEPT]
    unborn = [key.kid for key in keys.active if key.created_at - as_of > CLOCKS_APART]
    undying = [key.kid for key in retired if key.rotated_at is not None and key.rotated_at - as_of > CLOCKS_APART]
    untold = [key.kid for key in retired if key.kid not in audited]
    problems = [
        *([] if len(keys.active) == 1 else [f"{len(keys.active)} keys are active, and one should be"]),
        *(f"{kid} is active and older than {OLDEST.days} days" for kid in old),
        *(f"{kid} says that it was made after this, so that it would never be due" for kid in unborn),
        *(f"{kid} says that it was retired after this, so that it would verify for ever" for kid in undying),
        *(f"{kid} was retired more than {KEPT.days} days ago and is still stored" for kid in kept),
        *(f"{kid} was retired and the audit does not tell of it" for kid in untold),
    ]
    days = max((max(timedelta(), as_of - key.created_at).days for key in keys.active), default=0)
    details = {"active": len(keys.active), "retired": len(retired), "active_key_days": days}
    return Verdict(passed=not problems, message="; ".join(problems), details=details)
