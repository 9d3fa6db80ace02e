"""Rows to measure on where a database has too few: in a transaction that is never committed, and analysed by nobody.

ANALYZE would write the tables' sizes where a rollback does not reach.
"""

from datetime import datetime
from typing import Final

import sqlalchemy as sa

LOGS_PER_USER: Final = 4
_ORGANIZATION: Final = sa.text(
    """
    INSERT INTO public.organizations (id, name, slug)
    VALUES (gen_random_uuid(), 'Benchmark', 'benchmark-' || gen_random_uuid()) RETURNING id
    """
)
_USERS: Final = sa.text(
    """
    INSERT INTO public.users (org_id, email, role)
    SELECT :org_id, 'user' || n || '@benchmark.invalid',
        CAST(CASE WHEN n % 100 = 0 THEN 'admin' ELSE 'user' END AS public.auth_role)
    FROM generate_series(1, :users) AS n
    """
)
_LOGS: Final = sa.text(
    """
    INSERT INTO public.admin_audit_logs (action_type, entity_type, created_at)
    SELECT 'benchmark', 'benchmark', CAST(:as_of AS timestamptz) - n * interval '1 second'
    FROM generate_series(1, :logs) AS n
    """
)
_USER_SESSIONS: Final = sa.text(
    """
    INSERT INTO public.user_sessions (user_id, token_hash, expires_at, polar_customer_id)
    SELECT id, 'benchmark', CAST(:as_of AS timestamptz) + interval '1 day', 'benchmark'
    FROM public.users WHERE org_id = :org_id
    """
)
_ADMIN_SESSIONS: Final = sa.text(
    """
    INSERT INTO public.admin_sessions (user_id, token_hash, expires_at)
    SELECT id, 'benchmark', CAST(:as_of AS timestamptz) + interval '1 day'
    FROM public.users WHERE org_id = :org_id AND role = 'admin'
    """
)
_CUSTOMERS: Final = sa.text(
    """
    INSERT INTO public.polar_customers (user_id, polar_customer_id, subscription_tier, subscription_status)
    SELECT id, 'benchmark-' || id, 'free', 'active' FROM public.users WHERE org_id = :org_id
    """
)


def seed(connection: sa.Connection, users: int, as_of: datetime) -> None:
    """Insert so many users with a session and a customer each, and four times as many audit rows; the caller rolls back."""
    org_id = connection.scalar(_ORGANIZATION)
    connection.execute(_USERS, {"org_id": org_id, "users": users})
    connection.execute(_LOGS, {"logs": LOGS_PER_USER * users, "as_of": as_of})
    for sessions in (_USER_SESSIONS, _ADMIN_SESSIONS):
        connection.execute(sessions, {"org_id": org_id, "as_of": as_of})
    connection.execute(_CUSTOMERS, {"org_id": org_id})
