"""Every table from which a job deletes, with a foreign key to it that nobody foresaw."""

from datetime import UTC, datetime

import pytest

from cath_dagster.core.model.outcome import Status
from cath_dagster.core.roles.required_privileges import Moment
from cath_dagster.hay import HAY
from tests.hay.hay import Hay
from tests.hay.work import leave_work
from tests.support.maintained import outcome
from tests.support.unforeseen import EFFECTS, KEY, Assertion, Case, cases, refer

CASES = cases(
    HAY,
    Moment(datetime(2026, 11, 18, 4, 0, tzinfo=UTC), {}),
    cleanup_old_privacy_requests={"mode": "delete"},
)
RETENTION = [Case("conversation_retention", table) for table in ("messages", "message_feedback", "embeddings")]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.__name__)
def test_every_table_of_every_job(hay: Hay, case: Case, effect: Assertion) -> None:
    leave_work(hay, times=3)
    # What a run changes besides is no deletion, of which these effects speak.
    hay.connection.execute("DELETE FROM jobs WHERE status = 'processing'")

    effect(hay, case)


@pytest.mark.parametrize("case", RETENTION, ids=str)
def test_what_retention_deletes_is_kept_or_refused(hay: Hay, case: Case) -> None:
    """A conversation of which a message is kept is emptied all the same, and the message waits for the next run."""
    leave_work(hay, times=3)
    refer(hay, case, "")

    kept = hay.run(case.job)

    assert (kept.status, hay.count("unforeseen"), hay.count("conversations", "deleted_at IS NOT NULL")) == (
        Status.SUCCESS,
        1,
        3,
    )
    assert [note for note in kept.notes if KEY in note] != []
    assert outcome(kept, case.table).deleted == 2
    # What nobody finds any more is seen to by hand.
    hay.connection.execute("DROP TABLE unforeseen; DELETE FROM embeddings")
    leave_work(hay)
    refer(hay, case, "ON DELETE CASCADE")

    refused = hay.run(case.job)
    done = hay.run(case.job, allow_cascades=KEY)

    assert (refused.status, KEY in (refused.error or "")) == (Status.REFUSED, True)
    assert hay.count("messages") == 0
    assert (done.error, hay.count("unforeseen"), hay.count("embeddings")) == (None, 0, 0)
