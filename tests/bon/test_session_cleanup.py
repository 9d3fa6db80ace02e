"""session_cleanup: sessions that have expired go, all others stay."""

from datetime import timedelta

from tests.bon.bon import Bon
from tests.support.maintained import outcome

JOB = "session_cleanup"


def sessions(bon: Bon) -> set[object]:
    return {row[0] for row in bon.rows("SELECT id FROM sessions")}


def test_deletes_a_session_that_has_expired(bon: Bon) -> None:
    bon.add_session(expires_at=bon.as_of - timedelta(microseconds=1))

    result = bon.run(JOB)

    assert sessions(bon) == set()
    assert (outcome(result, "sessions").matched, outcome(result, "sessions").deleted) == (1, 1)


def test_keeps_a_session_that_expires_at_this_instant_or_later(bon: Bon) -> None:
    kept = {bon.add_session(expires_at=bon.as_of), bon.add_session(expires_at=bon.as_of + timedelta(days=1))}

    bon.run(JOB)

    assert sessions(bon) == kept


def test_leaves_the_user_of_a_session(bon: Bon) -> None:
    bon.add_session()

    bon.run(JOB)

    assert bon.count("users") == 1


def test_an_empty_table_is_nothing_to_do(bon: Bon) -> None:
    result = bon.run(JOB)

    assert (result.status, outcome(result, "sessions").matched) == ("success", 0)


def test_a_dry_run_counts_and_changes_nothing(bon: Bon) -> None:
    expired = {bon.add_session(), bon.add_session()}

    result = bon.run(JOB, dry_run=True)

    assert outcome(result, "sessions").matched == 2
    assert sessions(bon) == expired


def test_a_second_run_finds_nothing(bon: Bon) -> None:
    bon.add_session()
    bon.run(JOB)

    again = bon.run(JOB)

    assert outcome(again, "sessions").counts() == dict.fromkeys(outcome(again, "sessions").counts(), 0)


def test_spares_a_session_that_is_extended_while_the_run_waits_for_it(bon: Bon) -> None:
    extended = bon.add_session()
    change = "UPDATE sessions SET expires_at = expires_at + interval '1 day' WHERE id = %s"

    result = bon.run_beside(JOB, (change, [extended]))

    assert result.status == "success"
    assert sessions(bon) == {extended}


def test_refuses_to_take_most_of_a_large_table_unless_it_is_told_to(bon: Bon) -> None:
    user_id = bon.add_user()
    bon.connection.execute(
        "INSERT INTO sessions (id, user_id, last_accessed_at, expires_at)"
        " SELECT gen_random_uuid(), %s, %s, %s FROM generate_series(1, 10001)",
        [user_id, bon.ago(days=2), bon.ago(days=1)],
    )

    refused = bon.run(JOB)
    allowed = bon.run(JOB, allow_large=True)

    assert refused.status == "refused"
    assert outcome(allowed, "sessions").deleted == 10_001
