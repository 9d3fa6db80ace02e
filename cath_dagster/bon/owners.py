"""Who owns a business, and so gets its mail."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.bon.tables import user_businesses, users
from cath_dagster.core.postgres.expressions import is_any


@dataclass(frozen=True)
class Owner:
    """A user with the role of an owner."""

    user_id: UUID
    email: str = field(repr=False)
    name: str = field(repr=False)


def owners_of(business_ids: Sequence[UUID]) -> sa.Select[tuple[UUID, UUID, str, str]]:
    """Return the query for the owners of businesses: the business's id, then what an `Owner` has."""
    return (
        sa.select(user_businesses.c.business_id, users.c.id, users.c.email, users.c.name)
        .join(users, users.c.id == user_businesses.c.user_id)
        .where(is_any(user_businesses.c.business_id, business_ids), user_businesses.c.role == "owner")
        .order_by(user_businesses.c.business_id, users.c.id)
    )
