"""What an administrator's pages ask."""

from dataclasses import dataclass
from typing import Final

TABLES: Final = ("users", "admin_audit_logs", "user_sessions", "admin_sessions", "polar_customers")
FEWEST: Final = {"users": 1_000, "admin_audit_logs": 10_000}
"""With fewer rows any plan is fast, and a measurement says nothing."""
WARM_UPS: Final = 5


@dataclass(frozen=True)
class Query:
    """A question of an administrator's; `as_of` is bound."""

    name: str
    statement: str


QUERIES: Final = (
    Query("newest_users", "SELECT * FROM public.users ORDER BY created_at DESC LIMIT 100"),
    Query("newest_audit_logs", "SELECT * FROM public.admin_audit_logs ORDER BY created_at DESC LIMIT 100"),
    Query(
        "live_user_sessions",
        "SELECT * FROM public.user_sessions WHERE expires_at > %(as_of)s ORDER BY expires_at LIMIT 100",
    ),
    Query(
        "admin_sessions",
        "SELECT s.*, u.email FROM public.admin_sessions AS s JOIN public.users AS u ON u.id = s.user_id "
        "WHERE s.expires_at > %(as_of)s ORDER BY s.created_at DESC LIMIT 100",
    ),
    Query(
        "users_with_customers",
        "SELECT u.id, u.email, c.polar_customer_id, c.subscription_tier FROM public.users AS u "
        "JOIN public.polar_customers AS c ON c.user_id = u.id ORDER BY u.created_at DESC LIMIT 100",
    ),
    Query("count_of_users", "SELECT count(*) FROM public.users"),
)
