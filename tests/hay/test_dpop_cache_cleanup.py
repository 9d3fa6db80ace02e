"""Tokens that several servers share go once they have expired."""

from datetime import timedelta

from cath_dagster.hay.jobs.dpop_cache_cleanup import SPEC
from tests.hay.hay import Hay
from tests.support.maintained import outcome

JOB = "dpop_cache_cleanup"


def test_takes_what_expired_a_moment_ago_and_is_off_by_default(hay: Hay) -> None:
    insert = "INSERT INTO maintenance.dpop_token VALUES ('gone', %s), ('kept', %s), ('for ever', 'infinity')"
    hay.connection.execute(insert, [hay.as_of - timedelta(microseconds=1), hay.as_of])

    plan, result, again = hay.run(JOB, dry_run=True), hay.run(JOB), hay.run(JOB)

    assert [outcome(each, "dpop_token").matched for each in (plan, result, again)] == [1, 1, 0]
    assert hay.rows("SELECT jti FROM maintenance.dpop_token ORDER BY jti") == [("for ever",), ("kept",)]
    assert not SPEC.enabled
