"""Notices: each is sent once, whatever becomes of the run that sends it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.outbox.notices import Notice, not_settled
from cath_dagster.core.ports.mail import Content, Delivery, Receipt
from tests.support.post_office import (
    AS_OF,
    FAILED,
    REJECTED,
    SENT,
    SENT_AT,
    UNDELIVERED,
    UNKNOWN,
    PostOffice,
    notice,
)


def test_sends_a_notice_and_keeps_when_the_provider_took_it(office: PostOffice) -> None:
    outcome = office.send(notice("1"))

    assert office.provider.asked == ["ann"]
    assert (outcome.matched, outcome.notified) == (1, 1)
    assert office.book() == {"1": ("sent", SENT_AT)}


def test_has_nothing_to_do_without_notices(office: PostOffice) -> None:
    assert office.send().counts() == Outcome(target="mail").counts()


def test_has_claimed_a_notice_when_it_sends_it(office: PostOffice) -> None:
    office.send(notice("1"))

    assert office.provider.statuses == ["claimed"]


def test_sends_a_notice_once(office: PostOffice) -> None:
    office.send(notice("1"))

    again = office.send(notice("1"))

    assert office.provider.asked == ["ann"]
    assert again.notified == 0


@pytest.mark.parametrize(
    "another",
    [notice("2"), notice("1", kind="reminder"), notice("1", period=date(2026, 1, 2))],
    ids=["subject", "kind", "period"],
)
def test_sends_a_notice_about_another_matter(office: PostOffice, another: Notice) -> None:
    office.send(notice("1"))

    assert office.send(another).notified == 1


def test_does_not_let_one_failure_stop_the_others(office: PostOffice) -> None:
    office.provider.answers = {"bob": FAILED}

    outcome = office.send(notice("1"), notice("2", to="bob"), notice("3", to="cid"))

    assert office.provider.asked == ["ann", "bob", "cid"]
    assert (outcome.notified, outcome.failed) == (2, 1)
    assert outcome.details["errors"] == ["500 server error"]


def test_sends_again_what_failed(office: PostOffice) -> None:
    office.provider.answers = {"ann": FAILED}
    office.send(notice("1"))
    office.provider.answers = {}

    assert office.send(notice("1")).notified == 1
    assert office.book() == {"1": ("sent", SENT_AT)}


def test_stops_asking_when_every_message_must_fail_alike(office: PostOffice) -> None:
    office.provider.answers = {"ann": Receipt(Delivery.FAILED, error="403 key revoked", final=True)}

    outcome = office.send(notice("1"), notice("2", to="bob"), notice("3", to="cid"))

    assert office.provider.asked == ["ann"]
    assert outcome.failed == 3


def test_never_sends_again_to_an_address_rejected_for_good_where_that_settles_it(office: PostOffice) -> None:
    warning = replace(notice("1"), settled_by_rejection=True)
    office.provider.answers = {"ann": REJECTED}
    first = office.send(warning)
    office.provider.answers = {}

    second = office.send(warning)

    assert office.provider.asked == ["ann"]
    assert (first.notified, first.skipped, second.notified) == (0, 1, 0)
    assert first.details["rejected_ids"] == ["1"]


def test_an_address_rejected_for_good_has_failed_and_is_tried_again(office: PostOffice) -> None:
    office.provider.answers = {"ann": REJECTED}
    first = office.send(notice("1"))
    office.provider.answers = {}

    second = office.send(notice("1"))

    assert (first.failed, first.skipped, first.details["failed_ids"]) == (1, 0, ["1"])
    assert second.notified == 1


def test_counts_what_was_rendered_and_not_delivered_and_sends_it_later(office: PostOffice) -> None:
    office.provider.answers = {"ann": UNDELIVERED}
    first = office.send(notice("1"))
    office.provider.answers = {}

    second = office.send(notice("1"))

    assert (first.notified, first.undelivered, first.failed) == (0, 1, 0)
    assert second.notified == 1


# Outcomes nobody knows


def test_sends_nothing_again_that_the_provider_took_before_the_run_was_killed(office: PostOffice) -> None:
    office.provider.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        office.send(notice("1"))
    assert office.book() == {"1": ("claimed", None)}
    office.provider.interrupts = False
    office.provider.taken = {"tidy/warning/1": SENT}

    outcome = office.send(notice("1"))

    assert office.provider.asked == ["ann"]
    assert outcome.failed == 0
    assert office.book() == {"1": ("sent", SENT_AT)}


def test_sends_what_the_provider_did_not_take_before_the_run_was_killed(office: PostOffice) -> None:
    office.provider.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        office.send(notice("1"))
    office.provider.interrupts = False

    outcome = office.send(notice("1"))

    assert office.provider.asked == ["ann", "ann"]
    assert outcome.notified == 1
    assert office.book() == {"1": ("sent", SENT_AT)}


def test_sends_nothing_while_the_provider_cannot_be_asked(office: PostOffice) -> None:
    office.provider.answers = {"ann": UNKNOWN}
    office.send(notice("1"))
    office.provider.is_silent = True

    outcome = office.send(notice("1"))

    assert office.provider.asked == ["ann"]
    assert (outcome.notified, outcome.failed) == (0, 1)
    assert office.book() == {"1": ("claimed", None)}


def test_counts_an_unknown_outcome_as_failed(office: PostOffice) -> None:
    office.provider.answers = {"ann": UNKNOWN}

    outcome = office.send(notice("1"))

    assert (outcome.notified, outcome.failed) == (0, 1)
    assert office.book() == {"1": ("claimed", None)}


def test_asks_for_an_unknown_notice_by_the_reference_under_which_it_went(office: PostOffice) -> None:
    """A later run's reference may differ, as that of a person whose accounts have changed."""
    office.provider.answers = {"ann": UNKNOWN}
    office.send(notice("1", reference="first"))
    office.provider.taken = {"first": SENT}

    office.send(notice("1", reference="second"))

    assert office.provider.asked == ["ann"]
    assert office.book() == {"1": ("sent", SENT_AT)}


def test_keeps_the_reference_under_which_an_unknown_notice_goes_again(office: PostOffice) -> None:
    """The second attempt's outcome is unknown too: it is the second that must be asked for."""
    office.provider.answers = {"ann": UNKNOWN}
    office.send(notice("1", reference="first"))
    office.send(notice("1", reference="second"))
    assert office.provider.references == ["first", "second"]
    office.provider.taken = {"second": SENT}

    office.send(notice("1", reference="third"))

    assert len(office.provider.asked) == 2


# Several rows, one matter


def test_writes_down_every_row_a_notice_stands_for(office: PostOffice) -> None:
    office.send(notice("1", "2"))

    assert office.provider.asked == ["ann"]
    assert office.book() == {"1": ("sent", SENT_AT), "2": ("sent", SENT_AT)}


def test_sends_nothing_again_when_a_row_joins_the_matter(office: PostOffice) -> None:
    office.send(notice("1"))

    office.send(notice("1", "2"))

    assert office.provider.asked == ["ann"]
    assert office.book() == {"1": ("sent", SENT_AT), "2": ("sent", SENT_AT)}


def test_keeps_when_a_notice_was_sent_when_it_is_tried_again(office: PostOffice) -> None:
    office.send(notice("1"))

    office.send(notice("1"), as_of=datetime(2026, 12, 1, tzinfo=UTC))

    assert office.book() == {"1": ("sent", SENT_AT)}
    assert office.sql.execute("SELECT as_of FROM maintenance.sent_notice").fetchall() == [(AS_OF,)]


def test_tells_which_notices_are_not_settled(office: PostOffice) -> None:
    office.provider.answers = {"bob": REJECTED, "cid": FAILED, "dee": UNKNOWN}
    rejected = replace(notice("2", to="bob"), settled_by_rejection=True)
    office.send(notice("1"), rejected, notice("3", to="cid"), notice("4", to="dee"))
    notices = [*(notice(str(number)) for number in range(1, 6)), notice("1", period=date(2026, 2, 2))]

    left = office.database.transaction(lambda connection: not_settled(connection, "tidy", notices))

    assert [item.subject_ids[0] for item in left] == ["3", "4", "5", "1"]


def test_shows_no_address_in_what_is_written_down(office: PostOffice) -> None:
    office.send(notice("1", to="ann@example.org"))

    written = office.sql.execute("SELECT row(n.*)::text FROM maintenance.sent_notice n").fetchall()
    assert "ann@" not in str(written)
    assert "ann@" not in repr(notice("1", to="ann@example.org"))


def claimed_by_a_killed_run(office: PostOffice, notice: Notice) -> None:
    office.provider.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        office.send(notice)
    office.provider.interrupts = False
    office.provider.keeps_no_account = True


def test_what_nobody_can_tell_goes_again_under_the_same_reference(office: PostOffice) -> None:
    claimed_by_a_killed_run(office, notice("1", reference="the-first"))

    outcome = office.send(notice("1", reference="another"))

    assert office.provider.references == ["the-first", "the-first"]
    assert (outcome.notified, outcome.skipped) == (1, 0)
    assert office.book() == {"1": ("sent", SENT_AT)}


def test_what_must_not_come_twice_is_given_up_once(office: PostOffice) -> None:
    once = replace(notice("1"), may_repeat=False)
    claimed_by_a_killed_run(office, once)

    outcome, again = office.send(once), office.send(once)

    assert office.provider.asked == ["ann"]
    assert (outcome.skipped, outcome.failed, outcome.details) == (1, 0, {"given_up_ids": ["1"]})
    assert (again.skipped, again.failed) == (0, 0)
    assert office.book() == {"1": ("given_up", None)}
    assert office.database.transaction(lambda connection: not_settled(connection, "tidy", [once])) == []


def test_a_message_without_an_answer_is_not_tried_twice_in_one_run(office: PostOffice) -> None:
    office.provider.answers["ann"] = UNKNOWN

    outcome = office.send(replace(notice("1"), may_repeat=False))

    assert office.provider.asked == ["ann"]
    assert outcome.failed == 1
    assert office.book() == {"1": ("claimed", None)}


def test_claims_nothing_that_cannot_be_written(office: PostOffice) -> None:
    def render() -> Content:
        raise ZeroDivisionError

    unwritable = notice("1")
    with pytest.raises(ZeroDivisionError):
        office.send(replace(unwritable, message=replace(unwritable.message, render=render)))

    assert office.book() == {}


def test_writes_a_message_once_and_only_when_it_goes(office: PostOffice) -> None:
    written: list[str] = []

    def made() -> Iterator[Notice]:
        for number in ("1", "2"):
            one = notice(number)
            assert len(written) == int(number) - 1

            def render(number: str = number) -> Content:
                written.append(number)
                return Content(subject="s", text="t", html="h")

            yield replace(one, message=replace(one.message, render=render))

    outcome = office.send_each(made())

    assert written == ["1", "2"]
    assert outcome.notified == 2
