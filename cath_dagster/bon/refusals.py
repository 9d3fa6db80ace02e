"""Decide what becomes of a credential whose refresh token the provider takes no more.

The service refreshes too, for a request of its own: then the token was spent by it, and the new ones are written a moment
after ours was refused. So the row is let go, looked at again after a while, and flagged only where nothing has changed in
it. The provider is not asked again: a token that is presented twice may cost the good ones, where a provider takes that
for theft.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.bon.shaam import Ended, Ending, read_stored
from cath_dagster.bon.tables import business_shaam_credentials as credentials
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.expressions import is_any

MOST_REFUSED = 10
"""Of more than these and more than half of all that answered, something else is wrong than so many authorisations."""
LOOK_EVERY_SECONDS = 0.5


def is_everybody(refused: int, answered: int) -> bool:
    """Return whether too many are refused for each of them to have been revoked.

    A provider says the same of tokens that it gave to another client, so of all where our client's id is another's.
    """
    return refused > MOST_REFUSED and 2 * refused > answered


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Judges the refused credentials of one run. `on_change` records a flag in its transaction."""

    database: Database
    seconds: float
    """How long after the last refusal the service may take to write what it got."""
    clock: Callable[[], float]
    on_change: Callable[[sa.Connection, Ended], None]

    def judge(self, refused: Sequence[Ended], since: float) -> list[Ended]:
        """Wait until the service has had its time, and return what became of each; owns its transactions."""
        if refused:
            self._wait(refused, since + self.seconds)
        return [self._flag(each) for each in refused]

    def _wait(self, refused: Sequence[Ended], until: float) -> None:
        pause = threading.Event()
        while (left := until - self.clock()) > 0 and self._unchanged(refused):
            pause.wait(min(left, LOOK_EVERY_SECONDS))

    def _unchanged(self, refused: Sequence[Ended]) -> int:
        """Return how many of the rows still hold the token that was refused."""
        spent = [each.refused.encrypted_refresh_token for each in refused if each.refused is not None]
        query = (
            sa.select(sa.func.count())
            .select_from(credentials)
            .where(
                is_any(credentials.c.business_id, [each.business_id for each in refused]),
                is_any(credentials.c.encrypted_refresh_token, spent),
            )
        )
        return self.database.transaction(lambda connection: connection.scalar(query)) or 0

    def _flag(self, ended: Ended) -> Ended:
        try:
            return self.database.transaction(lambda connection: self._decide(connection, ended))
        except MaintenanceError as error:
            return Ended(ended.business_id, Ending.FAILED, f"refused, and could not be flagged: {error}")

    def _decide(self, connection: sa.Connection, ended: Ended) -> Ended:
        where = credentials.c.business_id == ended.business_id
        row = read_stored(connection, sa.select(credentials).where(where).with_for_update())
        seen = ended.refused
        if row is None or seen is None or row.encrypted_refresh_token != seen.encrypted_refresh_token:
            return Ended(ended.business_id, Ending.SKIPPED)
        revoked = Ended(ended.business_id, Ending.REVOKED, ended.error)
        if row.needs_reauth:
            # By ourselves, where the answer to our commit was lost; or by the service, which knows as much.
            return revoked
        if row != seen:
            return Ended(ended.business_id, Ending.SKIPPED)
        connection.execute(sa.update(credentials).where(where).values(needs_reauth=True, updated_at=sa.func.now()))
        self.on_change(connection, revoked)
        return revoked
