"""The GOV.UK Notify mailer against a listening Notify."""

import logging
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from cath_dagster.adapters.environment import NoMailer
from cath_dagster.adapters.notify import ATTACHMENT_LIMIT, NotifyMailer, check_api_key
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.ports.mail import Delivery, MailerUnavailableError, Message, Receipt
from cath_dagster.development.simulators.notify import NotifySimulator

ADDRESS = "planted.person@example.org"
NAME = "Planted Person"
TEMPLATE_ID = "1dea6b4b-48b6-4eb1-8b86-7031de5502d9"
NOW = datetime(2026, 11, 20, 8, 1, tzinfo=UTC)


@pytest.fixture
def notify() -> Iterator[NotifySimulator]:
    with NotifySimulator() as simulator:
        yield simulator


class Sleeper:
    def __init__(self) -> None:
        self.pauses: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
def mailer(notify: NotifySimulator, sleeper: Sleeper) -> NotifyMailer:
    return build_mailer(notify.base_url, notify.api_key, sleeper)


@pytest.fixture
def impatient(notify: NotifySimulator, sleeper: Sleeper) -> NotifyMailer:
    return build_mailer(notify.base_url, notify.api_key, sleeper, timeout=1.0)


def build_mailer(base_url: str, api_key: str, sleeper: Sleeper, *, timeout: float = 10.0) -> NotifyMailer:
    return NotifyMailer(
        api_key=api_key,
        base_url=base_url,
        templates={"media_warning": TEMPLATE_ID},
        timeout=timeout,
        sleep=sleeper,
        now=lambda: NOW,
    )


def build_message(*, template: str = "media_warning", attachment: bytes | None = None) -> Message:
    return Message(
        recipient=ADDRESS,
        template=template,
        personalisation={"full_name": NAME, "array_of_ids": ["1 - SNL", "2 - SNL"]},
        reference="warning/1",
        attachment=attachment,
    )


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_reports_a_message_that_was_taken_as_sent_with_its_time(mailer: NotifyMailer) -> None:
    assert mailer.send(build_message()) == Receipt(Delivery.SENT, sent_at=NOW)


def test_hands_over_address_template_personalisation_and_reference(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    mailer.send(build_message())
    (mail,) = notify.sent
    assert (mail.email_address, mail.template_id, mail.reference) == (ADDRESS, TEMPLATE_ID, "warning/1")
    assert mail.personalisation == {"full_name": NAME, "array_of_ids": ["1 - SNL", "2 - SNL"]}


def test_puts_an_attachment_behind_a_link_for_78_weeks(mailer: NotifyMailer, notify: NotifySimulator) -> None:
    mailer.send(build_message(attachment=b"a,b\n"))
    file = notify.sent[0].file
    assert file is not None
    assert (file.content, file.retention_period, file.confirm_email_before_download) == (b"a,b\n", "78 weeks", False)


def test_takes_an_attachment_of_exactly_the_limit(mailer: NotifyMailer) -> None:
    assert mailer.send(build_message(attachment=b"x" * ATTACHMENT_LIMIT)).delivery is Delivery.SENT


def test_refuses_an_attachment_above_the_limit_without_sending(mailer: NotifyMailer, notify: NotifySimulator) -> None:
    receipt = mailer.send(build_message(attachment=b"x" * (ATTACHMENT_LIMIT + 1)))
    assert (receipt.delivery, notify.sent) == (Delivery.FAILED, [])


def test_rejects_an_address_that_notify_says_is_not_valid(mailer: NotifyMailer, notify: NotifySimulator) -> None:
    notify.reject(ADDRESS)
    receipt = mailer.send(build_message())
    assert (receipt.delivery, receipt.final) == (Delivery.REJECTED, False)


def test_does_not_blame_the_address_for_another_error_in_the_request(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    notify.fail_next(400, "BadRequestError", "Missing personalisation: link")
    receipt = mailer.send(build_message())
    assert (receipt.delivery, receipt.final) == (Delivery.FAILED, False)
    assert receipt.error is not None
    assert "media_warning" in receipt.error
    assert "placeholder" in receipt.error


def test_says_that_a_service_in_trial_mode_may_not_send_to_the_recipient(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    notify.fail_next(
        400, "BadRequestError", "Can't send to this recipient when service is in trial mode - see https://"
    )
    receipt = mailer.send(build_message())
    assert receipt.delivery is Delivery.FAILED
    assert "live key" in str(receipt.error)


def test_names_a_template_that_notify_does_not_know_and_gives_up_for_good(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    notify.lose_template(TEMPLATE_ID)
    receipt = mailer.send(build_message())
    assert (receipt.delivery, receipt.final) == (Delivery.FAILED, True)
    assert "template media_warning" in str(receipt.error)


def test_names_a_template_that_has_no_id_and_gives_up_for_good(mailer: NotifyMailer) -> None:
    receipt = mailer.send(build_message(template="crime_warning"))
    assert (receipt.delivery, receipt.final) == (Delivery.FAILED, True)
    assert "template crime_warning" in str(receipt.error)


def test_gives_up_for_good_where_the_key_is_refused(notify: NotifySimulator, sleeper: Sleeper) -> None:
    other_key = notify.api_key[:-12] + "0" * 12
    receipt = build_mailer(notify.base_url, other_key, sleeper).send(build_message())
    assert (receipt.delivery, receipt.final, sleeper.pauses) == (Delivery.FAILED, True, [])
    assert "403" in str(receipt.error)


def test_waits_for_the_rate_limit_to_pass(mailer: NotifyMailer, notify: NotifySimulator, sleeper: Sleeper) -> None:
    notify.fail_next(429, "RateLimitError", "Exceeded rate limit for key type LIVE of 3000 requests per 60 seconds", 2)
    assert mailer.send(build_message()).delivery is Delivery.SENT
    assert sleeper.pauses == [9, 18]


def test_gives_up_at_the_rate_limit_after_a_bounded_number_of_attempts(
    mailer: NotifyMailer, notify: NotifySimulator, sleeper: Sleeper
) -> None:
    notify.fail_next(429, "RateLimitError", "Exceeded rate limit", 9)
    receipt = mailer.send(build_message())
    assert (receipt.delivery, receipt.final, sleeper.pauses) == (Delivery.FAILED, False, [9, 18, 36])


def test_gives_up_at_the_daily_limit_at_once(mailer: NotifyMailer, notify: NotifySimulator, sleeper: Sleeper) -> None:
    notify.fail_next(429, "TooManyRequestsError", "Exceeded send limits (50) for today")
    receipt = mailer.send(build_message())
    assert (receipt.delivery, receipt.final, sleeper.pauses) == (Delivery.FAILED, True, [])


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_sends_again_after_a_fault_of_the_provider(
    mailer: NotifyMailer, notify: NotifySimulator, sleeper: Sleeper, status: int
) -> None:
    notify.fail_next(status, "Exception", "Internal server error")
    assert mailer.send(build_message()).delivery is Delivery.SENT
    assert (len(notify.sent), sleeper.pauses) == (1, [1])


def test_reports_unknown_where_the_provider_answers_with_its_fault_for_ever(
    mailer: NotifyMailer, notify: NotifySimulator, sleeper: Sleeper
) -> None:
    notify.fail_next(503, "Exception", "Internal server error", times=99)
    receipt = mailer.send(build_message())
    assert (receipt.delivery, receipt.final, sleeper.pauses) == (Delivery.UNKNOWN, False, [1])
    assert "503" in str(receipt.error)


def test_does_not_send_again_before_it_knows_that_the_first_was_not_taken(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    notify.close_next(after_taking=True)
    notify.fail_next(503, "Exception", "Service unavailable", times=2)
    assert mailer.send(build_message()).delivery is Delivery.UNKNOWN
    assert len(notify.sent) == 1


def test_does_not_send_twice_what_was_taken_before_the_provider_failed(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    mailer.send(build_message())
    notify.fail_next(502, "Exception", "Bad gateway")
    assert mailer.send(build_message()).delivery is Delivery.SENT
    assert len(notify.sent) == 1


def test_reports_sent_where_the_answer_was_lost_and_the_provider_knows_the_message(
    impatient: NotifyMailer, notify: NotifySimulator
) -> None:
    notify.hang_next(30, after_taking=True)
    receipt = impatient.send(build_message())
    assert receipt == Receipt(Delivery.SENT, sent_at=datetime.fromisoformat(notify.sent[0].created_at))


def test_reports_unknown_where_the_answer_was_lost_and_the_provider_cannot_be_asked(
    impatient: NotifyMailer, notify: NotifySimulator
) -> None:
    notify.hang_next(30, times=3, after_taking=True)
    assert impatient.send(build_message()).delivery is Delivery.UNKNOWN
    assert len(notify.sent) == 1


def test_asks_a_provider_that_hangs_no_more_than_once_what_became_of_a_message(
    notify: NotifySimulator, impatient: NotifyMailer, sleeper: Sleeper
) -> None:
    notify.hang_next(30, times=2, after_taking=True)

    receipt = impatient.send(build_message())

    assert (receipt.delivery, receipt.is_outage) == (Delivery.UNKNOWN, True)
    assert sleeper.pauses == []
    # The third request is the first that is answered.
    assert impatient.find("warning/1") is not None


def test_reports_unknown_where_a_request_hangs_before_it_is_taken(
    impatient: NotifyMailer, notify: NotifySimulator, sleeper: Sleeper
) -> None:
    notify.hang_next(30)
    assert impatient.send(build_message()).delivery is Delivery.UNKNOWN
    assert (notify.sent, sleeper.pauses) == ([], [])


def test_reports_sent_where_the_connection_broke_after_the_message_was_taken(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    notify.close_next(after_taking=True)
    assert mailer.send(build_message()).delivery is Delivery.SENT


def test_reports_unknown_where_the_connection_breaks_and_the_message_is_not_there(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    notify.close_next()
    assert mailer.send(build_message()).delivery is Delivery.UNKNOWN


def test_fails_after_a_bounded_number_of_refused_connections(sleeper: Sleeper, notify: NotifySimulator) -> None:
    mailer = build_mailer(f"http://127.0.0.1:{find_free_port()}", notify.api_key, sleeper)
    receipt = mailer.send(build_message())
    assert (receipt.delivery, receipt.final, sleeper.pauses) == (Delivery.FAILED, False, [1, 2, 4])
    assert "cannot be reached" in str(receipt.error)


def test_finds_nothing_where_the_provider_never_took_the_message(mailer: NotifyMailer) -> None:
    assert mailer.find("warning/1") is None


@pytest.mark.parametrize("status", ["created", "sending", "delivered", "temporary-failure"])
def test_finds_a_message_that_was_taken_as_sent(mailer: NotifyMailer, notify: NotifySimulator, status: str) -> None:
    mailer.send(build_message())
    notify.settle("warning/1", status)
    receipt = mailer.find("warning/1")
    assert receipt == Receipt(Delivery.SENT, sent_at=datetime.fromisoformat(notify.sent[0].created_at))


def test_finds_a_message_to_an_address_that_does_not_exist_as_rejected(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    mailer.send(build_message())
    notify.settle("warning/1", "permanent-failure")
    receipt = mailer.find("warning/1")
    assert receipt is not None
    assert receipt.delivery is Delivery.REJECTED


def test_finds_nothing_where_the_provider_lost_the_message_itself(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    mailer.send(build_message())
    notify.settle("warning/1", "technical-failure")
    assert mailer.find("warning/1") is None


def test_finds_a_message_after_a_passing_fault(mailer: NotifyMailer, notify: NotifySimulator) -> None:
    mailer.send(build_message())
    notify.fail_next(500, "Exception", "Internal server error")
    assert mailer.find("warning/1") is not None


def test_says_that_the_provider_cannot_be_asked(mailer: NotifyMailer, notify: NotifySimulator) -> None:
    notify.fail_next(500, "Exception", "Internal server error", times=9)
    with pytest.raises(MailerUnavailableError, match="HTTP 500"):
        mailer.find("warning/1")


def test_checks_that_the_provider_knows_the_key_and_the_templates(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    mailer.check()
    notify.lose_template(TEMPLATE_ID)
    with pytest.raises(MailerUnavailableError, match=r"media_warning: .*404"):
        mailer.check()


def list_secrets(api_key: str) -> list[str]:
    return [ADDRESS, NAME, api_key, api_key[-36:], api_key[-73:-37]]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500])
@pytest.mark.parametrize("error", ["BadRequestError", "ValidationError", ADDRESS])
def test_passes_on_nothing_personal_that_the_provider_says(
    mailer: NotifyMailer, notify: NotifySimulator, caplog: pytest.LogCaptureFixture, status: int, error: str
) -> None:
    caplog.set_level(logging.DEBUG)
    notify.fail_next(status, error, f"{ADDRESS} {NAME} {notify.api_key}", times=9)
    receipt = mailer.send(build_message())
    assert receipt.delivery in {Delivery.FAILED, Delivery.UNKNOWN}
    said = f"{receipt!r} {mailer!r} {build_message()!r} {caplog.text}"
    assert [secret for secret in list_secrets(notify.api_key) if secret in said] == []


def test_raises_nothing_personal_where_the_provider_cannot_be_asked(
    mailer: NotifyMailer, notify: NotifySimulator
) -> None:
    notify.fail_next(400, ADDRESS, f"{ADDRESS} {notify.api_key}", times=9)
    with pytest.raises(MailerUnavailableError) as caught:
        mailer.find("warning/1")
    assert caught.value.__context__ is None
    assert [secret for secret in list_secrets(notify.api_key) if secret in repr(caught.value)] == []


def test_accepts_a_key_in_the_format_of_notify(notify: NotifySimulator) -> None:
    check_api_key(notify.api_key, "CATH_NOTIFY_API_KEY")


@pytest.mark.parametrize("spoil", [lambda key: key[1:-1], lambda key: f"{key} ", lambda key: f'"{key}"', lambda _: ""])
def test_names_the_variable_and_not_the_key_where_its_format_is_wrong(
    notify: NotifySimulator, spoil: Callable[[str], str]
) -> None:
    with pytest.raises(ConfigurationError, match="CATH_NOTIFY_API_KEY") as caught:
        check_api_key(spoil(notify.api_key), "CATH_NOTIFY_API_KEY")
    assert notify.api_key[-30:-3] not in str(caught.value)


def test_sends_nothing_where_no_provider_is_configured() -> None:
    mailer = NoMailer("CATH")
    says = "neither CATH_SMTP_URL nor CATH_NOTIFY_API_KEY is set"
    assert mailer.send(build_message()) == Receipt(Delivery.UNDELIVERED, error=says)
    assert mailer.find("warning/1") is None
    assert mailer.attachment_limit >= ATTACHMENT_LIMIT
