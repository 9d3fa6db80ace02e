"""overdue_detection: flags follow the calendar in Israel, and each owner hears of it once a day."""

import logging
import uuid
from datetime import UTC, date, datetime, timedelta

import pytest

from cath_dagster.adapters import smtp
from cath_dagster.bon import overdue
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.development.simulators.notify import NotifySimulator
from tests.bon.bon import TODAY, Bon
from tests.support.cli import findings
from tests.support.maintained import outcome
from tests.support.waiting import FOR_EVER_SECONDS, wait_until

JOB = "overdue_detection"
OPEN = ("finalized", "sent", "partially_paid")
SETTLED = ("paid", "cancelled", "credited")
OTHERS = ("draft", "sending", *SETTLED)
SLOW = f"""
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  PERFORM pg_sleep(CASE WHEN EXISTS (SELECT FROM invoices WHERE is_overdue AND xmin <> pg_current_xact_id()::xid)
                        THEN {FOR_EVER_SECONDS} ELSE 0.02 END);
  RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE UPDATE ON invoices FOR EACH ROW EXECUTE FUNCTION sleep();
"""
"""Once a batch is committed the next never ends, however often one was tried again before."""


@pytest.fixture
def business(bon: Bon) -> uuid.UUID:
    return bon.add_business()


def tally(result: RunResult) -> tuple[object, ...]:
    """Return the day that a run took for today, and how many invoices it marked and reset."""
    details = outcome(result, "invoices").details
    return details["day"], details["marked"], details["reset"]


# Marking and resetting


def test_marks_what_is_open_and_was_due_before_today_and_nothing_else(bon: Bon, business: uuid.UUID) -> None:
    late = {bon.add_overdue(business, status=status) for status in OPEN}
    for status in OTHERS:
        bon.add_overdue(business, status=status)
    bon.add_invoice(business, due_date=TODAY)
    bon.add_invoice(business, due_date=None)

    result = bon.run(JOB)

    assert bon.overdue() == late
    assert outcome(result, "invoices").updated == len(late)
    assert tally(result) == ("2026-11-18", len(late), 0)


def test_today_is_the_date_in_israel(bon: Bon, business: uuid.UUID) -> None:
    summer, winter = (bon.add_invoice(business, due_date=date(2026, month, 17)) for month in (7, 11))
    # Israel is two hours ahead in winter and three in summer.
    expected = {
        datetime(2026, 7, 17, 20, 59, 59, tzinfo=UTC): set(),
        datetime(2026, 7, 17, 21, 0, tzinfo=UTC): {summer},
        datetime(2026, 11, 17, 21, 59, 59, tzinfo=UTC): {summer},
        datetime(2026, 11, 17, 22, 0, tzinfo=UTC): {summer, winter},
    }

    found = {as_of: (bon.run(JOB, as_of=as_of), bon.overdue())[1] for as_of in expected}

    assert found == expected


def test_resets_what_is_settled_and_nothing_of_another_status(bon: Bon, business: uuid.UUID) -> None:
    for status in SETTLED:
        bon.add_overdue(business, status=status, is_overdue=True)
    kept = {bon.add_overdue(business, status=status, is_overdue=True) for status in ("draft", "sending", *OPEN)}

    result = bon.run(JOB)

    assert bon.overdue() == kept
    assert outcome(result, "invoices").details["reset"] == len(SETTLED)


def test_updated_at_moves_with_the_flag_and_only_then(bon: Bon, business: uuid.UUID) -> None:
    moved = {
        bon.add_overdue(business),
        bon.add_overdue(business, status="paid", is_overdue=True),
    }
    bon.add_overdue(business, is_overdue=True)
    bon.add_invoice(business)

    bon.run(JOB)

    changed = {row[0] for row in bon.rows("SELECT id FROM invoices WHERE updated_at <> %s", bon.ago(days=100))}
    assert changed == moved


def test_marks_the_invoices_of_an_inactive_business_as_well(bon: Bon) -> None:
    late = bon.add_overdue(bon.add_business(is_active=False, deleted_at=bon.ago(days=1)))

    bon.run(JOB)

    assert bon.overdue() == {late}
    assert bon.smtp.sent == []


def add_many(bon: Bon, business: uuid.UUID, count: int, due: str = "2026-01-01", **values: object) -> None:
    bon.connection.execute(
        "INSERT INTO invoices (business_id, document_type, status, due_date, is_overdue)"
        " SELECT %s, 'tax_invoice', %s, %s, %s FROM generate_series(1, %s)",
        [business, values.get("status", "sent"), due, values.get("is_overdue", False), count],
    )


@pytest.mark.parametrize(("late", "others"), [(3_000, 0), (3_000, 200), (50, 5_000)])
def test_marks_many_in_several_transactions(bon: Bon, business: uuid.UUID, late: int, others: int) -> None:
    add_many(bon, business, others, due="2027-01-01")
    add_many(bon, business, late)
    add_many(bon, business, 100, status="paid", is_overdue=True)
    bon.connection.execute("ANALYZE invoices")

    result = bon.run(JOB)

    assert tally(result) == ("2026-11-18", late, 100)
    assert bon.count("invoices", "is_overdue AND due_date < '2026-11-18' AND status = 'sent'") == late
    assert bon.count("invoices", "is_overdue") == late
    assert outcome(result, "invoices").batches > 2


def test_spares_an_invoice_that_is_paid_while_the_run_waits_for_it(bon: Bon, business: uuid.UUID) -> None:
    paid, late = bon.add_overdue(business), bon.add_overdue(business)

    result = bon.run_beside(JOB, ("UPDATE invoices SET status = 'paid' WHERE id = %s", [paid]))

    assert result.status == "success"
    assert bon.overdue() == {late}


def test_marks_an_invoice_that_another_transaction_moves_while_the_run_waits_for_it(
    bon: Bon, business: uuid.UUID
) -> None:
    moved = bon.add_overdue(business)

    bon.run_beside(JOB, ("UPDATE invoices SET notes = 'called' WHERE id = %s", [moved]))

    assert bon.overdue() == {moved}
    assert bon.count("invoices", "notes = 'called'") == 1


def test_stops_at_max_rows_and_the_next_run_goes_on(bon: Bon, business: uuid.UUID) -> None:
    add_many(bon, business, 10)

    first = bon.run(JOB, max_rows=4)
    second = bon.run(JOB)

    assert first.status == "success"
    assert any("6 rows of invoices are left" in note for note in first.notes)
    assert [outcome(each, "invoices").updated for each in (first, second)] == [4, 6]


@pytest.mark.stack
def test_a_run_killed_in_the_midst_of_marking_is_finished_by_the_next(bon: Bon, business: uuid.UUID) -> None:
    add_many(bon, business, 300)
    bon.connection.execute(SLOW)
    with bon.child_running(JOB) as child:
        wait_until(lambda: 0 < bon.count("invoices", "is_overdue") < 300)
        child.kill()
        child.wait()
    wait_until(lambda: not bon.count("pg_stat_activity", f"application_name LIKE '{JOB}:%'"))
    bon.connection.execute("DROP TRIGGER slow ON invoices")
    marked = bon.count("invoices", "is_overdue")

    result = bon.run(JOB)

    assert 0 < marked < 300
    assert outcome(result, "invoices").details["marked"] == 300 - marked
    assert bon.value("SELECT sum(updated) FROM maintenance.purge_ledger WHERE table_name = 'invoices'") == 300
    assert len(bon.smtp.sent) == 1


def test_a_dry_run_counts_and_changes_and_sends_nothing(bon: Bon, business: uuid.UUID) -> None:
    bon.add_overdue(business)
    settled = bon.add_overdue(business, status="paid", is_overdue=True)

    result = bon.run(JOB, dry_run=True)

    assert outcome(result, "invoices").matched == 2
    assert outcome(result, "mail").matched == 1
    assert bon.overdue() == {settled}
    assert bon.smtp.sent == []
    assert bon.count("maintenance.sent_notice") == 0


def test_an_empty_table_is_nothing_to_do(bon: Bon) -> None:
    result = bon.run(JOB)

    assert result.status == "success"
    assert [each.matched for each in result.outcomes] == [0, 0]


# The digest


def test_each_owner_of_each_business_gets_a_mail_of_its_own(bon: Bon) -> None:
    ann, ben = bon.add_user(email="ann@example.org"), bon.add_user(email="ben@example.org")
    for business in (bon.add_business(ann, ben), bon.add_business(ann)):
        bon.add_overdue(business)

    result = bon.run(JOB)

    assert sorted(mail.recipient for mail in bon.smtp.sent) == ["ann@example.org"] * 2 + ["ben@example.org"]
    assert outcome(result, "mail").notified == 3
    assert len({mail.message_id for mail in bon.smtp.sent}) == 3


def test_only_owners_get_a_mail(bon: Bon) -> None:
    business = bon.add_business(bon.add_user(email="owner@example.org"))
    for role in ("admin", "user"):
        bon.add_member(business, bon.add_user(email=f"{role}@example.org"), role)
    bon.add_overdue(business)

    bon.run(JOB)

    assert [mail.recipient for mail in bon.smtp.sent] == ["owner@example.org"]


def test_lists_all_that_is_overdue_the_most_overdue_first(bon: Bon, business: uuid.UUID) -> None:
    for number, days in (("B", 5), ("A", 90), ("C", 1)):
        bon.add_overdue(business, days=days, document_number=f"INV-{number}", is_overdue=number == "A")
    bon.add_invoice(business, document_number="INV-TODAY")
    bon.add_overdue(business, status="paid", document_number="INV-PAID")

    bon.run(JOB)

    (mail,) = bon.smtp.sent
    assert mail.subject.startswith("3 חשבוניות באיחור — ")
    positions = [mail.html.index(f"INV-{number}") for number in "ABC"]
    assert positions == sorted(positions)
    assert "<td>90</td>" in mail.html
    assert "INV-TODAY" not in mail.html
    assert "INV-PAID" not in mail.html


def test_a_business_without_anything_overdue_gets_no_mail(bon: Bon, business: uuid.UUID) -> None:
    bon.add_invoice(business)

    result = bon.run(JOB)

    assert bon.smtp.sent == []
    assert outcome(result, "mail").matched == 0


def test_a_business_without_an_owner_is_counted(bon: Bon) -> None:
    user = bon.add_user()
    business = bon.insert(
        "businesses",
        id=uuid.uuid4(),
        name="Ownerless",
        business_type="licensed_dealer",
        registration_number="1",
        created_by_user_id=user,
    )
    bon.add_overdue(business)

    result = bon.run(JOB)

    assert outcome(result, "mail").details["businesses_without_owner"] == 1


def test_lists_no_more_than_the_setting_says_and_counts_the_rest(bon: Bon, business: uuid.UUID) -> None:
    for _ in range(5):
        bon.add_overdue(business)

    bon.run(JOB, digest_rows=2)

    (mail,) = bon.smtp.sent
    assert mail.subject.startswith("5 חשבוניות")
    assert mail.html.count("INV-") == 2
    assert "ועוד 3" in mail.html
    assert "6,172.50" in mail.html


def test_many_businesses_are_read_a_few_at_a_time(bon: Bon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overdue, "BUSINESSES_AT_ONCE", 5)
    owner = bon.add_user()
    for _ in range(12):
        bon.add_overdue(bon.add_business(owner))

    result = bon.run(JOB)

    assert outcome(result, "mail").notified == len(bon.smtp.sent) == 12
    assert outcome(result, "mail").details["businesses"] == 12


def test_a_second_run_of_the_day_sends_nothing(bon: Bon, business: uuid.UUID) -> None:
    bon.add_overdue(business)
    bon.run(JOB)

    again = bon.run(JOB, as_of=bon.as_of + timedelta(hours=17, minutes=59))

    assert len(bon.smtp.sent) == 1
    assert outcome(again, "mail").matched == 0
    assert outcome(again, "invoices").updated == 0


def test_the_next_day_has_a_mail_of_its_own(bon: Bon, business: uuid.UUID) -> None:
    bon.add_overdue(business)
    bon.run(JOB)

    bon.run(JOB, as_of=bon.as_of + timedelta(hours=18))

    first, second = bon.smtp.sent
    assert first.message_id != second.message_id
    assert "<td>2</td>" in second.html


def test_one_mail_that_fails_does_not_stop_the_others_and_goes_with_the_next_run(bon: Bon) -> None:
    for name in ("ann", "ben", "cid"):
        bon.add_overdue(bon.add_business(bon.add_user(email=f"{name}@example.org")))
    bon.smtp.reject("ben@example.org", "450 4.2.0 try later")

    failed = bon.run(JOB)
    bon.smtp.accept("ben@example.org")
    again = bon.run(JOB)

    assert (failed.status, outcome(failed, "mail").notified, outcome(failed, "mail").failed) == ("failed", 2, 1)
    assert (again.status, outcome(again, "mail").notified) == ("success", 1)
    assert sorted(mail.recipient for mail in bon.smtp.sent) == [f"{name}@example.org" for name in ("ann", "ben", "cid")]


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
def test_a_digest_that_the_server_puts_off_goes_with_the_same_run(bon: Bon, business: uuid.UUID, command: str) -> None:
    bon.add_overdue(business)
    bon.smtp.answer_next(command, "451 4.3.0 try again later", times=2)

    result = bon.run(JOB)

    assert (result.status, outcome(result, "mail").notified) == ("success", 1)
    assert bon.waited == [5.0, 60.0]


def test_a_run_says_truly_what_becomes_of_a_digest_that_could_not_be_sent(bon: Bon, business: uuid.UUID) -> None:
    bon.add_overdue(business)
    bon.smtp.answer_next("RCPT", "450 4.2.0 greylisted", times=10)

    result = bon.run(JOB)

    assert "run overdue_detection again on 2026-11-18 for them" in (result.error or "")
    assert "the next run tries again" not in (result.error or "")


def test_digests_are_forgotten_after_three_months_and_those_of_a_day_so_long_ago_not_sent_again(
    bon: Bon, business: uuid.UUID
) -> None:
    bon.add_overdue(business)
    bon.run(JOB)

    bon.run(JOB, as_of=bon.as_of + timedelta(days=90))
    assert bon.count("maintenance.sent_notice") == 2
    dry = bon.run(JOB, as_of=bon.as_of + timedelta(days=91), dry_run=True)
    assert bon.count("maintenance.sent_notice") == 2
    bon.run(JOB, as_of=bon.as_of + timedelta(days=91))
    assert bon.count("maintenance.sent_notice") == 2

    late = bon.run(JOB)
    assert outcome(dry, "notices").matched == 1
    assert late.status == "success"
    assert any("nobody can tell any more" in note for note in late.notes)
    assert len(bon.smtp.sent) == 3


def test_an_address_that_is_rejected_for_good_ends_the_run_failed_and_is_tried_by_the_next(bon: Bon) -> None:
    owner = bon.add_user(email="gone@example.org")
    business = bon.add_business(owner)
    bon.add_overdue(business)
    bon.smtp.reject("gone@example.org")

    other = bon.add_business()
    bon.add_overdue(other)

    result = bon.run(JOB)
    bon.smtp.accept("gone@example.org")
    again = bon.run(JOB)

    assert (result.status, outcome(result, "mail").notified, outcome(result, "mail").failed) == ("failed", 1, 1)
    assert outcome(result, "mail").details["failed_ids"] == [f"{business}/{owner}"]
    assert any(f"{business}/{owner}" in note for note in result.notes)
    assert "gone@example.org" not in str(result)
    assert (again.status, outcome(again, "mail").notified) == ("success", 1)


def test_a_digest_that_may_have_arrived_is_not_sent_again(bon: Bon, business: uuid.UUID) -> None:
    bon.add_overdue(business)
    bon.smtp.drop_next("DATA", takes=True)

    unknown, again, third = bon.run(JOB), bon.run(JOB), bon.run(JOB)

    assert (unknown.status, outcome(unknown, "mail").failed) == ("failed", 1)
    assert (again.status, outcome(again, "mail").skipped) == ("success", 1)
    assert any("may have arrived" in note for note in again.notes)
    assert outcome(third, "mail").skipped == 0
    assert len(bon.smtp.sent) == 1


@pytest.mark.stack
def test_a_run_killed_while_it_sends_is_finished_by_the_next_without_a_second_copy(bon: Bon) -> None:
    for name in ("ann", "ben"):
        bon.add_overdue(bon.add_business(bon.add_user(email=f"{name}@example.org")))
    bon.smtp.drop_next("DATA", after_seconds=30, takes=True)
    with bon.child_running(JOB) as child:
        wait_until(lambda: len(bon.smtp.sent) == 1)
        child.kill()
        child.wait()

    result = bon.run(JOB)

    assert result.status == "success"
    assert (outcome(result, "mail").notified, outcome(result, "mail").skipped) == (1, 1)
    assert sorted(mail.recipient for mail in bon.smtp.sent) == ["ann@example.org", "ben@example.org"]


def test_without_a_provider_mails_are_rendered_and_kept_as_not_sent(bon: Bon, business: uuid.UUID) -> None:
    bon.add_overdue(business)
    url = bon.environ.pop("BON_SMTP_URL")

    undelivered = bon.run(JOB)
    statuses = bon.rows("SELECT status FROM maintenance.sent_notice")
    bon.environ["BON_SMTP_URL"] = url
    delivered = bon.run(JOB)

    assert (undelivered.status, outcome(undelivered, "mail").undelivered) == ("success", 1)
    assert statuses == [("undelivered",)]
    assert outcome(delivered, "mail").notified == 1


def test_doctor_says_what_is_done_without_a_provider_and_speaks_of_no_deletion(bon: Bon) -> None:
    del bon.environ["BON_SMTP_URL"]

    (finding,) = [each for each in findings(bon.environ) if each["subject"] == "mail"]

    told = dict(part.split(": ") for part in finding["says"].split("; ")[1:])
    assert set(told) == {JOB, "shaam_token_refresh"}
    assert "deleted" not in finding["says"]


def test_goes_through_notify_where_that_is_the_provider(bon: Bon, business: uuid.UUID) -> None:
    bon.add_overdue(business)
    del bon.environ["BON_SMTP_URL"]
    with NotifySimulator() as notify:
        bon.environ |= {
            "BON_NOTIFY_API_KEY": notify.api_key,
            "BON_NOTIFY_BASE_URL": notify.base_url,
            "BON_NOTIFY_TEMPLATE_OVERDUE_DIGEST": str(uuid.uuid4()),
        }
        result = bon.run(JOB)

        assert result.status == "success"
        assert notify.sent[0].personalisation["subject"].startswith("חשבונית אחת באיחור")


def test_a_mistake_in_the_settings_of_mail_stops_the_run_before_it_changes_anything(
    bon: Bon, business: uuid.UUID
) -> None:
    bon.add_overdue(business)
    right = dict(bon.environ)
    mistakes = [
        ("BON_MAIL_FROM", ""),
        ("BON_MAIL_FROM", "nobody"),
        ("BON_SMTP_URL", "http://planted"),
        ("BON_NOTIFY_API_KEY", "k"),
    ]

    for name, value in mistakes:
        bon.environ = right | {name: value}
        result = bon.run(JOB)

        assert (result.status, bon.overdue()) == ("failed", set()), name
        assert name in (result.error or "")
        assert "planted" not in (result.error or "")


def test_a_server_that_is_down_fails_the_run_after_the_marking(
    bon: Bon, business: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "FIRST_PAUSE", 0.0)
    late = bon.add_overdue(business)
    bon.smtp.stop()

    result = bon.run(JOB)

    assert result.status == "failed"
    assert bon.overdue() == {late}


def test_nobody_s_data_is_in_what_a_run_says(
    bon: Bon, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, logger="cath_dagster")
    owner = bon.add_user(email="planted@example.org", name="Planted Owner")
    business = bon.add_business(owner, name="Planted Ltd")
    bon.add_overdue(business, customer_name="Planted Customer", document_number="PLANTED-1")

    result = bon.run(JOB)

    said = f"{result.as_json()} {result} {bon.reporter.lines} {capfd.readouterr()}"
    ledger = str(bon.rows("SELECT row_to_json(e)::text FROM maintenance.ledger_event e"))
    preview = result.previews["overdue_digest"]
    for text in (said, ledger, preview.html, preview.text, preview.subject):
        assert "lanted" not in text
        assert "PLANTED" not in text
    assert "Planted Customer" in bon.smtp.sent[0].html


def test_the_preview_shows_what_goes_out_with_names_and_amounts_made_up(bon: Bon, business: uuid.UUID) -> None:
    bon.add_overdue(business, days=12, total_incl_vat_minor_units=77_777)

    result = bon.run(JOB, dry_run=True)

    preview = result.previews["overdue_digest"].html
    assert "<td>12</td>" in preview
    assert "777.77" not in preview
