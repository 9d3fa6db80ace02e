"""What every job of Hay would find to do."""

from typing import Any

from tests.hay.hay import Hay

EXPIRED: dict[str, Any] = {"exportUrl": "x", "downloadToken": "made up", "exportExpiresAt": "2020-01-01T00:00:00.000Z"}


def leave_work(hay: Hay, *, times: int = 1) -> None:
    """Leave something to do for every job, so often."""
    tenant, user = hay.add_tenant(30), hay.add_user()
    for number in range(times):
        message = hay.add_message(hay.add_conversation(tenant))
        hay.add("message_feedback", message_id=message, organization_id=tenant, reviewer_id=user, rating="good")
        hay.add("embeddings", organization_id=tenant, page_content="x", metadata={"messageId": str(message)})
        hay.add("audit_logs", action="user.login", created_at=hay.ago(days=120))
        hay.add_request(metadata=EXPIRED, completed_at=hay.ago(days=100))
        hay.add_request(status="expired", updated_at=hay.ago(days=100))
        hay.add_job(tenant, status="processing", updated_at=hay.ago(days=2))
        hay.add_job(tenant, updated_at=hay.ago(days=40))
        hay.add_instance(health_status="healthy", organization_id=tenant)
        hay.add("documents", organization_id=tenant, status="processing", updated_at=hay.ago(days=1))
        hay.connection.execute(
            "INSERT INTO maintenance.dpop_token VALUES (%s, %s)", [f"token {tenant} {number}", hay.ago(days=1)]
        )
