"""What the killing of jobs finds is told, and every job stands a kill of each kind."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

import pytest

from benchmarks.kills.__main__ import AGAINST_COUNTERPARTS, benches, jobs
from benchmarks.kills.account import Account, as_markdown
from benchmarks.kills.comparison import NOTICES, compare
from benchmarks.kills.remains import Mail, Remains, Table, Volatile, find_volatile
from benchmarks.kills.trial import Bench, Judgement, Kind
from cath_dagster.registry import locations

PEOPLE = Table(("id", "at"), (("1", "monday"), ("2", "monday")))
SENT = Table(("subject_id", "status"), (("1", "sent"),))
EXPECTED = Remains({"people": PEOPLE, NOTICES: SENT}, {"blobs/a": "d1"}, (Mail("a@example.org", "hello", "m1"),))
CALM = Volatile()
LEFT_TO_OTHERS = {
    *("hay/cleanup_expired_privacy_exports", "hay/cleanup_old_audit_logs", "hay/conversation_retention"),
    *(
        "hay/document_dead_letters",
        "hay/generate_daily_analytics",
        "hay/plugin_health_check",
        "hay/plugin_instance_cleanup",
    ),
}
"""Killed wherever it may matter by tests of their own, and those that delete nothing by the benchmark alone."""


def test_finds_nothing_where_two_runs_leave_the_same() -> None:
    assert compare(EXPECTED, EXPECTED, CALM).faults == ()


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (replace(EXPECTED, tables={**EXPECTED.tables, "people": replace(PEOPLE, rows=PEOPLE.rows[:1])}), "1 missing"),
        (replace(EXPECTED, tables={**EXPECTED.tables, "people": replace(PEOPLE, rows=PEOPLE.rows * 2)}), "2 too many"),
        (replace(EXPECTED, files={}), "files: 1 missing"),
        (replace(EXPECTED, files={"blobs/a": "d1", "blobs/b": "d2"}), "files: 1 too many"),
        (replace(EXPECTED, mails=()), "mails: 1 lost"),
        (replace(EXPECTED, mails=(*EXPECTED.mails, Mail("a@example.org", "hello", "m2"))), "mails: 1 too many"),
    ],
)
def test_tells_of_what_is_lost_or_twice(found: Remains, says: str) -> None:
    (fault,) = compare(EXPECTED, found, CALM).faults
    assert says in fault


def test_counts_a_mail_that_went_twice_under_one_id() -> None:
    difference = compare(EXPECTED, replace(EXPECTED, mails=EXPECTED.mails * 2), CALM)
    assert (difference.repeated, difference.faults) == (1, ())


def test_counts_a_mail_that_was_given_up_once_and_no_more_than_that() -> None:
    given_up = Table(SENT.columns, (("1", "given_up"),))
    one = replace(EXPECTED, tables={**EXPECTED.tables, NOTICES: given_up}, mails=())
    two = replace(EXPECTED, mails=(*EXPECTED.mails, Mail("b@example.org", "hello", "m2")))
    assert (compare(EXPECTED, one, CALM).given_up, compare(EXPECTED, one, CALM).faults) == (1, ())
    assert "1 lost" in compare(two, one, CALM).faults[0]


def test_leaves_out_what_differs_by_itself_and_nothing_else() -> None:
    later = replace(PEOPLE, rows=(("1", "tuesday"), ("2", "tuesday")))
    other = replace(EXPECTED, tables={**EXPECTED.tables, "people": later}, files={"blobs/a": "d9"})
    volatile = find_volatile(EXPECTED, other)
    assert compare(EXPECTED, other, volatile).faults == ()
    assert compare(EXPECTED, replace(other, files={}), volatile).faults != ()
    assert (
        compare(EXPECTED, replace(EXPECTED, tables={**other.tables, NOTICES: SENT, "people": PEOPLE}), CALM).faults
        == ()
    )


def test_adds_the_trials_up() -> None:
    judged = [Judgement((Kind.PROCESS, Kind.PROCESS), 3), Judgement((Kind.BACKEND,), 2, ("lost",), repeated=1)]
    page = as_markdown([Account.of("cath/clear_audit", judged)])
    assert "| cath/clear_audit | 2 | 1 | 0 | 2 | 1 | 1 | 0 |" in page
    assert "| all | 2 | 1 | 0 | 2 | 1 | 1 | 0 |" in page


@pytest.fixture(scope="module")
def opened() -> Iterator[list[Bench]]:
    """Yield every job with its world, on one server, and one process from which all runs are forked."""
    tried = [key for key in jobs() if key not in LEFT_TO_OTHERS]
    with benches(tried, random.Random(1), scale=0.01) as all_jobs:
        yield all_jobs


@pytest.mark.stack
@pytest.mark.xdist_group("kills")
@pytest.mark.parametrize("location", [each.name for each in locations() if each.name != AGAINST_COUNTERPARTS])
def test_a_killed_job_is_finished_by_the_next_run(opened: list[Bench], location: str) -> None:
    its_jobs = [bench for bench in opened if bench.spec.location.name == location]
    assert its_jobs
    for bench, kind in zip(its_jobs, cycle(Kind), strict=False):
        judged = None
        while judged is None:
            # The run had ended before the kill came.
            judged = bench.try_once(kind)
        assert judged.faults == (), bench.spec.key
