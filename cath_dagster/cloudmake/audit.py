"""What jobs write into the service's audit of administrators' actions, in the transaction of what they tell."""

from collections.abc import Mapping

import sqlalchemy as sa

from cath_dagster.cloudmake.tables import admin_audit_logs
from cath_dagster.core.model.scalar import Scalar

ENTITY_TYPE = "cloudmake"
LONGEST_ACTION = 64
"""What the column takes in databases made by the service's ORM."""


def audit(
    connection: sa.Connection, action_type: str, *, run_id: str, changes: Mapping[str, Scalar | Mapping[str, int]]
) -> None:
    """Write one row in the caller's transaction: ids, counts and the run, never a name, a key or a value."""
    if len(action_type) > LONGEST_ACTION:
        raise ValueError(f"{action_type} is longer than {LONGEST_ACTION} characters")
    connection.execute(
        # Inline: a key that is returned would have to be read, and the role may write and not read here.
        sa.insert(admin_audit_logs)
        .inline()
        .values(
            admin_user_id=None,
            action_type=action_type,
            entity_type=ENTITY_TYPE,
            changes_json={"run_id": run_id, **changes},
        )
    )
