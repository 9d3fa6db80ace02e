"""What every job of BON would find to do."""

from tests.bon.bon import Bon
from tests.support.expired import leave_work


def prepare(bon: Bon) -> None:
    """Leave something to do for every job."""
    business = bon.add_business()
    bon.add_overdue(business)
    bon.add_item(bon.add_draft(business))
    bon.add_session()
    bon.add_credential(token="revoked")
    bon.add_credential()
    bon.provider.revoke("revoked")
    leave_work(bon)
