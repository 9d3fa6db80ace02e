"""What a job asks of an OAuth 2 provider, and what it answers."""

import enum
from dataclasses import dataclass, field
from datetime import datetime


class ClientAuth(enum.StrEnum):
    """How the client shows who it is."""

    BASIC = "basic"
    BODY = "body"


@dataclass(frozen=True, kw_only=True)
class Grant:
    """New tokens. What the answer leaves out is None: the refresh token and the scope stay as they were then."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_at: datetime | None
    scope: str | None


class RefreshError(Exception):
    """No tokens came. The message holds nothing that the provider says but its status and a registered error code."""

    def __init__(self, says: str, *, is_revoked: bool = False, is_outage: bool = False) -> None:
        """`is_revoked`: the provider says that this refresh token is good for nothing any more (`invalid_grant`)."""
        super().__init__(says)
        self.says = says
        self.is_revoked = is_revoked
        self.is_outage = is_outage
