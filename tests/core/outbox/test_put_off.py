"""What a provider puts off is tried again by the same run, within a bound; one that does not answer is left alone."""

import pytest

from cath_dagster.core.outbox.notices import MAX_OUTAGES, SLOW_SECONDS, Notice
from cath_dagster.core.ports.mail import Delivery, Receipt
from tests.support.post_office import FAILED, REJECTED, SENT, SENT_AT, UNKNOWN, PostOffice, notice

LATER = Receipt(Delivery.FAILED, error="450 greylisted", may_pass=True)
SILENT = Receipt(Delivery.FAILED, error="no answer", is_outage=True)
NO_KEY = Receipt(Delivery.FAILED, error="403 key revoked", final=True)
NOT_TRIED = "not tried, because the mail provider does not answer in time"


def many(count: int) -> list[Notice]:
    return [notice(str(number), to=f"to{number}") for number in range(1, count + 1)]


def test_what_is_put_off_goes_after_the_others_in_the_same_run(office: PostOffice) -> None:
    office.provider.next_answers = [LATER]

    outcome = office.send(*many(3))

    assert office.provider.asked == ["to1", "to2", "to3", "to1"]
    assert (outcome.matched, outcome.notified, outcome.failed) == (3, 3, 0)
    assert office.book() == dict.fromkeys("123", ("sent", SENT_AT))
    assert office.waited == [5.0]


def test_what_is_put_off_for_ever_has_failed_within_a_bound_and_is_named(office: PostOffice) -> None:
    office.provider.answers = {"to1": LATER}

    outcome = office.send(*many(2))

    assert office.waited == [5.0, 60.0, 300.0]
    assert office.provider.asked.count("to1") == 4
    assert (outcome.notified, outcome.failed) == (1, 1)
    assert outcome.details == {"errors": ["450 greylisted"], "failed_ids": ["1"]}
    assert office.book()["1"] == ("failed", None)


@pytest.mark.parametrize("answer", [FAILED, REJECTED, UNKNOWN, NO_KEY], ids=["failed", "rejected", "unknown", "final"])
def test_what_will_not_pass_is_not_waited_for(office: PostOffice, answer: Receipt) -> None:
    office.provider.next_answers = [answer]

    outcome = office.send(notice("1"))

    assert office.provider.asked == ["ann"]
    assert office.waited == []
    assert outcome.failed == 1


def test_after_three_hangs_in_a_row_the_provider_is_left_alone_until_it_answers(office: PostOffice) -> None:
    office.provider.answers = {f"to{number}": SILENT for number in range(1, 101)}

    outcome = office.send(*many(100))

    assert office.provider.asked == ["to1", "to2", "to3", "to1", "to1", "to1"]
    assert outcome.failed == 100
    assert outcome.details["errors"] == [f"99 x {NOT_TRIED}", "1 x no answer"]
    assert any("no answer; 3 in a row, the others wait" in line for line in office.said)


def test_a_provider_that_comes_back_gets_the_others(office: PostOffice) -> None:
    office.provider.next_answers = [SILENT] * (MAX_OUTAGES + 1)

    outcome = office.send(*many(10))

    assert (outcome.notified, outcome.failed) == (10, 0)
    assert office.waited == [5.0, 60.0]


def test_an_answer_in_between_begins_the_count_anew(office: PostOffice) -> None:
    office.pauses = ()
    office.provider.next_answers = [SILENT, SILENT, SENT, SILENT, SILENT, SENT]

    outcome = office.send(*many(6))

    assert len(office.provider.asked) == 6
    assert (outcome.notified, outcome.failed) == (2, 4)


def test_a_provider_that_takes_ages_over_each_is_left_alone_too(office: PostOffice) -> None:
    office.provider.took_seconds = SLOW_SECONDS

    outcome = office.send(*many(10))

    assert len(office.provider.asked) == MAX_OUTAGES + len(office.pauses)
    assert (outcome.notified, outcome.failed) == (6, 4)
    assert outcome.details["errors"] == [NOT_TRIED]


def test_says_what_is_waited_for_while_it_waits(office: PostOffice) -> None:
    office.provider.next_answers = [LATER]
    heard: list[str] = []
    office.on_wait = lambda: heard.extend(office.said)

    office.send(notice("1"))

    assert heard == ["1 messages are put off (450 greylisted); they are tried again in 5 s"]


def test_a_kill_while_it_waits_leaves_the_message_to_the_next_run(office: PostOffice) -> None:
    def kill() -> None:
        raise KeyboardInterrupt

    office.provider.next_answers, office.on_wait = [LATER], kill
    with pytest.raises(KeyboardInterrupt):
        office.send(notice("1"))
    assert office.book() == {"1": ("failed", None)}

    office.on_wait = lambda: None
    assert office.send(notice("1")).notified == 1
    assert office.provider.asked == ["ann", "ann"]
