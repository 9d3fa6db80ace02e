"""Warnings before a deletion: to whom, when, how often, and what they say."""

from datetime import timedelta

import pytest

from cath_dagster.core.model.outcome import Status
from tests.checktick.checktick import SITE, CheckTick
from tests.support.cli import findings
from tests.support.maintained import outcome


def tiers_sent(checktick: CheckTick) -> list[str]:
    """Return the kinds of the warnings that were sent, in order."""
    query = "SELECT kind FROM maintenance.sent_notice WHERE status = 'sent' ORDER BY sent_at, kind"
    return [str(kind).removeprefix("deletion_warning_") for (kind,) in checktick.rows(query)]


@pytest.mark.parametrize(
    ("days", "tier"), [(31, None), (30, "30"), (29, "30"), (8, "30"), (7, "7"), (2, "7"), (1, "1")]
)
def test_warns_at_the_nearest_tier_by_calendar_days(checktick: CheckTick, days: int, tier: str | None) -> None:
    checktick.add_survey(deletion_date=checktick.ahead(days=days))

    result = checktick.govern()

    assert result.status is Status.SUCCESS
    assert tiers_sent(checktick) == ([tier] if tier else [])


def test_counts_days_by_the_calendar_whatever_the_time_of_day(checktick: CheckTick) -> None:
    checktick.add_survey(deletion_date=checktick.as_of.replace(hour=23, minute=59) + timedelta(days=30))
    checktick.add_survey(deletion_date=checktick.as_of.replace(hour=0) + timedelta(days=31))

    checktick.govern()

    assert tiers_sent(checktick) == ["30"]


def test_a_deletion_later_today_is_warned_of_as_today(checktick: CheckTick) -> None:
    checktick.add_survey(name="Ward round", deletion_date=checktick.ahead(hours=6))

    checktick.govern()

    (mail,) = checktick.smtp.sent
    assert mail.subject == "URGENT: “Ward round” will be deleted today"


@pytest.mark.parametrize(
    ("days", "subject"),
    [
        (30, "Notice: “Ward round” will be deleted in 30 days"),
        (7, "Important: “Ward round” will be deleted in 7 days"),
        (1, "URGENT: “Ward round” will be deleted tomorrow"),
        (12, "Notice: “Ward round” will be deleted in 12 days"),
    ],
)
def test_the_subject_tells_the_urgency_and_the_true_number_of_days(
    checktick: CheckTick, days: int, subject: str
) -> None:
    checktick.add_survey(name="Ward round", deletion_date=checktick.ahead(days=days))

    checktick.govern()

    assert [mail.subject for mail in checktick.smtp.sent] == [subject]


def test_goes_to_the_owner_as_text_and_html_with_date_and_links(checktick: CheckTick) -> None:
    owner_id = checktick.add_user(first_name="Ada", email="ada@example.org")
    checktick.add_survey(
        owner_id=owner_id, name="Pain & <sleep>", slug="pain-sleep", deletion_date=checktick.ahead(days=30)
    )

    checktick.govern()

    (mail,) = checktick.smtp.sent
    assert mail.recipient == "ada@example.org"
    for body in (mail.text, mail.html):
        assert "18 December 2026 at 02:00 UTC" in body
        assert "Ada" in body
        assert f"{SITE}/surveys/pain-sleep/dashboard/" in body
        assert f"{SITE}/docs/data-governance-overview/" in body
    assert "Pain & <sleep>" in mail.text
    assert "Pain &amp; &lt;sleep&gt;" in mail.html


def test_a_trailing_slash_of_the_sites_address_is_not_doubled(checktick: CheckTick) -> None:
    checktick.environ["CHECKTICK_SITE_URL"] = f"{SITE}/"
    checktick.add_survey(slug="one", deletion_date=checktick.ahead(days=7))

    checktick.govern()

    assert f"{SITE}/surveys/one/dashboard/" in checktick.smtp.sent[0].text


def test_a_second_run_of_the_same_day_sends_nothing(checktick: CheckTick) -> None:
    checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.govern()

    again = checktick.govern()

    assert len(checktick.smtp.sent) == 1
    assert outcome(again, "mail").notified == 0


def test_each_tier_is_sent_once_over_a_month_of_runs(checktick: CheckTick) -> None:
    checktick.add_survey(deletion_date=checktick.ahead(days=31, hours=5))

    for day in range(32):
        checktick.govern(as_of=checktick.ahead(days=day, minutes=day % 7))

    assert tiers_sent(checktick) == ["30", "7", "1"]


def test_of_several_missed_tiers_only_the_nearest_is_sent(checktick: CheckTick) -> None:
    checktick.add_survey(deletion_date=checktick.ahead(days=31))

    for day in (0, 26, 27):
        checktick.govern(as_of=checktick.ahead(days=day))

    assert tiers_sent(checktick) == ["7"]


def test_warns_anew_of_a_new_date(checktick: CheckTick) -> None:
    survey_id = checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.govern()
    later = checktick.ahead(days=100)
    checktick.connection.execute("UPDATE surveys_survey SET deletion_date = %s WHERE id = %s", (later, survey_id))

    checktick.govern(as_of=checktick.ahead(days=93))

    assert tiers_sent(checktick) == ["7", "7"]


def test_does_not_warn_under_a_legal_hold_and_does_once_it_is_removed(checktick: CheckTick) -> None:
    survey_id = checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.add_hold(survey_id)
    checktick.govern()
    assert checktick.smtp.sent == []
    checktick.connection.execute("UPDATE surveys_legalhold SET removed_at = %s", (checktick.as_of,))

    checktick.govern()

    assert tiers_sent(checktick) == ["7"]


@pytest.mark.parametrize(
    "values",
    [{"closed_at": None}, {"status": "published"}, {"deletion_date": None}],
    ids=["never closed", "published again", "without a date"],
)
def test_does_not_warn_of_a_deletion_that_will_not_be(checktick: CheckTick, values: dict[str, object]) -> None:
    checktick.add_survey(**{"deletion_date": checktick.ahead(days=7), **values})

    result = checktick.govern()

    assert result.status is Status.SUCCESS
    assert checktick.smtp.sent == []


def test_does_not_warn_of_a_survey_that_is_soft_deleted_already(checktick: CheckTick) -> None:
    checktick.add_survey(
        deletion_date=checktick.ahead(days=7),
        deleted_at=checktick.ago(days=1),
        hard_deletion_date=checktick.ahead(days=29),
    )

    checktick.govern()

    assert checktick.smtp.sent == []


def test_a_rejected_recipient_stops_nobody_else_and_is_named_by_id(checktick: CheckTick) -> None:
    gone = checktick.add_user(email="gone@example.org")
    survey_id = checktick.add_survey(owner_id=gone, deletion_date=checktick.ahead(days=7))
    checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.smtp.reject("gone@example.org")

    result = checktick.govern()
    checktick.smtp.accept("gone@example.org")
    again = checktick.govern()

    assert (result.status, again.status) == (Status.FAILED, Status.SUCCESS)
    assert outcome(result, "mail").details["failed_ids"] == [str(survey_id)]
    assert outcome(again, "mail").notified == 1
    assert len(checktick.smtp.sent) == 2


def test_an_owner_without_an_address_stops_nobody_else(checktick: CheckTick) -> None:
    survey_id = checktick.add_survey(owner_id=checktick.add_user(email=""), deletion_date=checktick.ahead(days=7))
    checktick.add_survey(deletion_date=checktick.ahead(days=7))

    result = checktick.govern()

    assert result.status is Status.FAILED
    assert outcome(result, "mail").notified == 1
    assert outcome(result, "mail").details["failed_ids"] == [str(survey_id)]


def test_a_warning_that_fails_ends_the_run_failed_and_goes_with_the_next(checktick: CheckTick) -> None:
    checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.smtp.answer_next("RCPT", "451 4.3.0 try again later", times=4)

    failed = checktick.govern()
    assert failed.status is Status.FAILED
    assert "send_warnings: 1 messages could not be sent" in (failed.error or "")

    assert checktick.govern().status is Status.SUCCESS
    assert tiers_sent(checktick) == ["7"]


def test_a_server_that_ends_the_connection_after_the_text_gets_the_same_message_again(checktick: CheckTick) -> None:
    checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.smtp.drop_next("DATA", takes=True, after_seconds=0.2)

    assert checktick.govern().status is Status.FAILED
    assert checktick.govern().status is Status.SUCCESS

    first, second = checktick.smtp.sent
    assert first.message_id == second.message_id


def test_a_warning_claimed_by_a_run_that_was_killed_goes_again_under_its_message_id(checktick: CheckTick) -> None:
    survey_id = checktick.add_survey(deletion_date=checktick.ahead(days=7))
    checktick.govern()
    checktick.connection.execute("UPDATE maintenance.sent_notice SET status = 'claimed', sent_at = NULL")

    checktick.govern()
    checktick.govern()

    first, second = checktick.smtp.sent
    assert first.message_id == second.message_id
    assert checktick.rows("SELECT subject_id, status FROM maintenance.sent_notice") == [(str(survey_id), "sent")]


def test_without_a_provider_warnings_are_counted_and_deletions_done(checktick: CheckTick) -> None:
    del checktick.environ["CHECKTICK_SMTP_URL"]
    due = checktick.add_due()
    checktick.add_survey(deletion_date=checktick.ahead(days=7))

    result = checktick.govern()

    assert result.status is Status.SUCCESS
    assert outcome(result, "mail").undelivered == 1
    assert checktick.survey(due, "deleted_at") != (None,)


def test_doctor_says_that_surveys_are_deleted_without_a_provider_too(checktick: CheckTick) -> None:
    del checktick.environ["CHECKTICK_SMTP_URL"]

    (finding,) = [each for each in findings(checktick.environ) if each["subject"] == "mail"]

    assert finding["level"] == "warning"
    assert "data_governance: surveys are deleted all the same" in finding["says"]
    assert "nobody" not in finding["says"]


@pytest.mark.parametrize("name", ["CHECKTICK_SITE_URL", "CHECKTICK_MAIL_FROM"])
def test_a_missing_setting_of_the_mails_is_named_before_anything_is_done(checktick: CheckTick, name: str) -> None:
    del checktick.environ[name]
    due = checktick.add_due()
    checktick.add_survey(deletion_date=checktick.ahead(days=7))

    result = checktick.govern()

    assert result.status is Status.FAILED
    assert name in (result.error or "")
    assert checktick.survey(due, "deleted_at") == (None,)


def test_a_dry_run_counts_what_would_be_sent_by_tier_and_sends_nothing(checktick: CheckTick) -> None:
    for days in (30, 30, 7):
        checktick.add_survey(deletion_date=checktick.ahead(days=days))

    result = checktick.govern(dry_run=True)

    mail = outcome(result, "mail")
    assert mail.matched == 3
    assert {name: mail.details[f"warnings_{name}_days"] for name in (30, 7, 1)} == {30: 2, 7: 1, 1: 0}
    assert checktick.smtp.sent == []
    assert checktick.count("maintenance.sent_notice") == 0


def test_tiers_are_settings(checktick: CheckTick) -> None:
    checktick.environ["CHECKTICK_DATA_GOVERNANCE_FIRST_WARNING_DAYS"] = "60"
    checktick.add_survey(deletion_date=checktick.ahead(days=60))

    checktick.govern()

    assert tiers_sent(checktick) == ["60"]


def test_tiers_out_of_order_are_refused(checktick: CheckTick) -> None:
    result = checktick.govern(second_warning_days=40)

    assert result.status is Status.FAILED
    assert "each must come later than the one before" in (result.error or "")


def test_nothing_personal_gets_into_ledger_notices_or_log(checktick: CheckTick) -> None:
    owner_id = checktick.add_user(first_name="Ada", username="ada.lovelace", email="ada@example.org")
    checktick.add_survey(owner_id=owner_id, name="Secret ward", deletion_date=checktick.ahead(days=7))
    checktick.add_everything(checktick.add_doomed(owner_id=owner_id, name="Secret ward"))

    result = checktick.govern()

    kept = checktick.rows("SELECT to_jsonb(e)::text FROM maintenance.ledger_event e")
    kept += checktick.rows("SELECT to_jsonb(n)::text FROM maintenance.sent_notice n")
    said = "\n".join([*(text for (text,) in kept), *checktick.reporter.lines, str(result.as_json())])
    assert [word for word in ("ada", "Ada", "Secret", "High Court") if word in said] == []
