"""Mail by SMTP, against a server that listens: what becomes of a message, and what is said about it."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cath_dagster.adapters.environment import EnvironmentBackends, NoMailer
from cath_dagster.adapters.notify import NotifyMailer
from cath_dagster.adapters.smtp import SmtpMailer, parse_sender, parse_url
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.ports.mail import Content, Delivery, MailerUnavailableError, Message, Receipt
from cath_dagster.development.simulators.notify import NotifySimulator
from cath_dagster.development.simulators.smtp import SmtpServer
from tests.support.certificate import make_certificate

NOW = datetime(2026, 11, 20, 8, 1, tzinfo=UTC)
ADDRESS = "planted.person@example.org"
HEBREW = "חשבונית אחת באיחור — סטודיו"
UNKNOWN_AFTER_TEXT = "the mail server gave no answer after the text; it may have taken the message"


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    with SmtpServer() as started:
        yield started


@pytest.fixture
def mailer(server: SmtpServer) -> Iterator[SmtpMailer]:
    made = open_mailer(server.url)
    yield made
    made.close()


def open_mailer(url: str, *, timeout: float = 5) -> SmtpMailer:
    return SmtpMailer(
        parse_url(url, "BON_SMTP_URL"),
        sender=parse_sender("BON <noreply@bon.example>", "BON_MAIL_FROM"),
        now=lambda: NOW,
        timeout=timeout,
        sleep=lambda seconds: None,
    )


def build(recipient: str = ADDRESS, reference: str = "digest/1", text: str = "שלום\n") -> Message:
    content = Content(subject=HEBREW, text=text, html='<p dir="rtl">שלום</p>\n')
    return Message(recipient=recipient, template="digest", render=lambda: content, reference=reference)


def test_sends_text_and_html_and_says_when(server: SmtpServer, mailer: SmtpMailer) -> None:
    receipt = mailer.send(build())

    assert receipt == Receipt(Delivery.SENT, sent_at=NOW)
    (mail,) = server.sent
    assert (mail.recipient, mail.sender, mail.subject) == (ADDRESS, "noreply@bon.example", HEBREW)
    assert mail.text.splitlines() == ["שלום"]
    assert mail.html.strip() == '<p dir="rtl">שלום</p>'
    assert str(mail.message["From"]) == "BON <noreply@bon.example>"
    assert mail.message["Auto-Submitted"] == "auto-generated"


def test_a_mail_is_seven_bit_whatever_it_says(server: SmtpServer, mailer: SmtpMailer) -> None:
    mailer.send(build())

    assert server.sent[0].source.isascii()


def test_the_message_id_is_that_of_the_reference(server: SmtpServer, mailer: SmtpMailer) -> None:
    for reference in ("digest/1", "digest/1", "digest/2"):
        mailer.send(build(reference=reference))

    first, again, other = (mail.message_id for mail in server.sent)
    assert first == again
    assert first != other
    assert first.endswith("@bon.example>")


def test_keeps_lines_that_begin_with_a_dot(server: SmtpServer, mailer: SmtpMailer) -> None:
    mailer.send(build(text=".\n..two\nend\n"))

    assert server.sent[0].text.splitlines() == [".", "..two", "end"]


def test_many_messages_go_through_one_connection_and_a_new_one_where_the_server_left(
    server: SmtpServer, mailer: SmtpMailer
) -> None:
    mailer.send(build(reference="digest/1"))
    server.stop()
    server.start()

    assert mailer.send(build(reference="digest/2")).delivery is Delivery.SENT


@pytest.mark.parametrize(
    "reply", ["550 5.1.1 no such user", "550 no such user", "553 5.1.3 bad syntax", "550 5.2.1 mailbox disabled"]
)
def test_an_address_that_the_server_does_not_know_is_rejected_for_good(
    server: SmtpServer, mailer: SmtpMailer, reply: str
) -> None:
    server.reject(ADDRESS, reply)

    receipt = mailer.send(build())

    assert (receipt.delivery, receipt.sent_at) == (Delivery.REJECTED, NOW)
    assert mailer.send(build("other@example.org")).delivery is Delivery.SENT


@pytest.mark.parametrize(
    "reply",
    [
        "450 4.2.0 greylisted",
        "554 5.7.1 relaying denied",
        "550 5.7.1 blocked",
        "552 5.3.4 too big",
        "550 5.1.8 bad sender",
    ],
)
def test_a_refusal_for_another_reason_does_not_blame_the_address(
    server: SmtpServer, mailer: SmtpMailer, reply: str
) -> None:
    server.reject(ADDRESS, reply)

    receipt = mailer.send(build())

    assert receipt.delivery is Delivery.FAILED
    assert not receipt.final
    assert reply[:9] in (receipt.error or "")


@pytest.mark.parametrize("address", ["", "nobody", "@example.org", "a@b\r\nBcc: other@example.org", "שם@example.org"])
def test_what_is_no_address_is_rejected_without_asking(server: SmtpServer, mailer: SmtpMailer, address: str) -> None:
    assert mailer.send(build(address)).delivery is Delivery.REJECTED
    assert server.sent == []


def test_a_domain_beyond_ascii_is_written_as_the_envelope_needs_it(server: SmtpServer, mailer: SmtpMailer) -> None:
    mailer.send(build("office@דוגמה.example"))

    assert server.sent[0].recipient == "office@xn--6dbbec0c.example"


@pytest.mark.parametrize(
    ("domain", "written"),
    [
        # Another domain than strasse.example, which the rules of 2003 make of it.
        ("straße.example", "xn--strae-oqa.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("Plain_Label.example", "Plain_Label.example"),
    ],
)
def test_a_domain_is_written_as_registries_have_it(
    server: SmtpServer, mailer: SmtpMailer, domain: str, written: str
) -> None:
    mailer.send(build(f"office@{domain}"))

    assert server.sent[0].recipient == f"office@{written}"


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
@pytest.mark.parametrize("reply", ["450 4.2.0 greylisted", "451 4.3.0 later", "452 4.2.2 mailbox full"])
def test_what_the_server_puts_off_was_not_taken_and_may_be_later(
    server: SmtpServer, mailer: SmtpMailer, command: str, reply: str
) -> None:
    server.answer_next(command, reply)

    receipt = mailer.send(build())

    assert (receipt.delivery, receipt.may_be_tried_again, receipt.is_outage) == (Delivery.FAILED, True, False)
    assert server.sent == []
    assert mailer.send(build()).delivery is Delivery.SENT


@pytest.mark.parametrize(
    "reply",
    ["552 5.2.2 mailbox full", "552 5.3.4 too big", "554 5.7.1 spam", "550 5.7.1 blocked", "550 5.1.8 bad sender"],
)
def test_what_is_refused_for_good_is_neither_tried_again_nor_the_addresss_fault(
    server: SmtpServer, mailer: SmtpMailer, reply: str
) -> None:
    server.reject(ADDRESS, reply)

    receipt = mailer.send(build())

    assert (receipt.delivery, receipt.may_be_tried_again, receipt.final) == (Delivery.FAILED, False, False)


def test_a_server_that_is_silent_before_the_text_is_waited_for_once(server: SmtpServer) -> None:
    server.drop_next("RCPT", after_seconds=60)

    with closing(open_mailer(server.url, timeout=0.5)) as mailer:
        receipt = mailer.send(build())

    assert receipt == Receipt(Delivery.FAILED, error="the mail server gave no answer within 0.5 s", is_outage=True)
    assert receipt.may_be_tried_again
    assert server.sent == []


def test_a_refused_sender_stops_all_messages(server: SmtpServer, mailer: SmtpMailer) -> None:
    server.answer_next("MAIL", "550 5.7.1 not yours")

    receipt = mailer.send(build())

    assert (receipt.delivery, receipt.final) == (Delivery.FAILED, True)


@pytest.mark.parametrize("reply", ["421 4.3.2 closing", "451 4.3.0 later"])
def test_tries_again_where_the_server_is_not_ready(server: SmtpServer, mailer: SmtpMailer, reply: str) -> None:
    server.answer_next("MAIL", reply)

    assert mailer.send(build()).delivery is Delivery.SENT
    assert len(server.sent) == 1


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
def test_tries_again_where_the_connection_ends_before_the_text(
    server: SmtpServer, mailer: SmtpMailer, command: str
) -> None:
    server.drop_next(command)

    assert mailer.send(build()).delivery is Delivery.SENT
    assert len(server.sent) == 1


def test_gives_up_after_a_few_attempts(server: SmtpServer, mailer: SmtpMailer) -> None:
    server.drop_next("MAIL", times=10)

    receipt = mailer.send(build())

    assert (receipt.delivery, receipt.is_outage) == (Delivery.FAILED, True)


@pytest.mark.parametrize("is_taken", [True, False])
def test_nobody_can_tell_what_became_of_a_text_without_an_answer(
    server: SmtpServer, mailer: SmtpMailer, is_taken: bool
) -> None:
    server.drop_next("DATA", takes=is_taken)

    receipt = mailer.send(build())

    assert receipt == Receipt(Delivery.UNKNOWN, error=UNKNOWN_AFTER_TEXT, is_outage=True)
    assert len(server.sent) == is_taken


def test_does_not_wait_for_ever_for_an_answer_to_the_text(server: SmtpServer) -> None:
    server.drop_next("DATA", after_seconds=60)

    receipt = open_mailer(server.url, timeout=1.0).send(build())

    assert receipt.delivery is Delivery.UNKNOWN


def test_a_text_that_the_server_refuses_has_failed(server: SmtpServer, mailer: SmtpMailer) -> None:
    server.answer_next("DATA", "554 5.6.0 content rejected")

    assert mailer.send(build()).delivery is Delivery.FAILED
    assert mailer.send(build()).delivery is Delivery.SENT


def test_a_server_that_does_not_listen_is_an_outage() -> None:
    receipt = open_mailer("smtp://127.0.0.1:1").send(build())

    assert (receipt.delivery, receipt.is_outage) == (Delivery.FAILED, True)


def test_a_message_without_a_text_of_ours_is_not_sent(server: SmtpServer, mailer: SmtpMailer) -> None:
    receipt = mailer.send(Message(recipient=ADDRESS, template="media_warning", reference="1"))

    assert (receipt.delivery, receipt.final) == (Delivery.FAILED, True)
    assert "media_warning" in (receipt.error or "")


def test_logs_in_with_the_user_and_password_of_the_url() -> None:
    with SmtpServer(login=("bon", "se:cret")) as server:
        url = server.url.replace("se:cret", "se%3Acret")
        mailer = open_mailer(url)
        assert mailer.send(build()).delivery is Delivery.SENT
        mailer.check()


def test_a_wrong_password_stops_all_messages_and_is_not_told() -> None:
    with SmtpServer(login=("bon", "right")) as server:
        mailer = open_mailer(server.url.replace("right", "planted"))
        receipt = mailer.send(build())
        with pytest.raises(MailerUnavailableError) as caught:
            mailer.check()

    assert (receipt.delivery, receipt.final) == (Delivery.FAILED, True)
    assert "535" in str(caught.value)
    assert "planted" not in f"{receipt} {caught.value} {mailer._server}"


def test_a_password_does_not_go_to_another_machine_without_tls() -> None:
    with SmtpServer(login=("bon", "secret")) as server:
        # By this name nobody knows that it is this machine.
        receipt = open_mailer(server.url.replace("127.0.0.1", "127.1")).send(build())

        assert (receipt.delivery, receipt.final) == (Delivery.FAILED, True)
        assert "a password is not sent without" in (receipt.error or "")


@pytest.mark.parametrize("starts_with_tls", [True, False])
def test_speaks_tls_with_a_server_whose_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts_with_tls: bool
) -> None:
    file, context = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with (
        SmtpServer(certificate=context, starts_with_tls=starts_with_tls, login=("bon", "secret")) as server,
        closing(open_mailer(server.url)) as mailer,
    ):
        receipt = mailer.send(build())

    assert receipt.delivery is Delivery.SENT


@pytest.mark.parametrize("starts_with_tls", [True, False])
def test_sends_nothing_to_a_server_whose_certificate_is_not_trusted(tmp_path: Path, starts_with_tls: bool) -> None:
    _, context = make_certificate(tmp_path)
    with SmtpServer(certificate=context, starts_with_tls=starts_with_tls) as server:
        receipt = open_mailer(server.url).send(build())

        assert (receipt.delivery, receipt.final) == (Delivery.FAILED, True)
        assert "SSL_CERT_FILE" in (receipt.error or "")
        assert server.sent == []


def test_cannot_tell_what_became_of_an_earlier_message(mailer: SmtpMailer) -> None:
    assert mailer.find("digest/1") == Receipt(Delivery.UNKNOWN)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.org",
        "http://mail.example.org",
        "smtp://",
        "smtp://bon:planted@mail.example.org:port",
        "smtp://bon:plan/ted@mail.example.org",
        "smtp://bon:planted@mail.example.org/path",
        "smtp://bon:plan#ted@mail.example.org",
    ],
)
def test_refuses_what_is_no_url_of_a_mail_server_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="BON_SMTP_URL") as caught:
        parse_url(url, "BON_SMTP_URL")

    assert "plan" not in str(caught.value)


def test_the_port_is_that_of_mail_submission_where_none_is_named() -> None:
    assert parse_url("smtp://mail.example.org", "V").port == 587
    assert parse_url("smtps://mail.example.org", "V").port == 465


@pytest.mark.parametrize("value", ["", "BON", "BON <bon>", "<@example.org>"])
def test_refuses_what_is_no_sender(value: str) -> None:
    with pytest.raises(ConfigurationError, match="BON_MAIL_FROM"):
        parse_sender(value, "BON_MAIL_FROM")


def backends(**environ: str) -> EnvironmentBackends:
    return EnvironmentBackends("BON", {f"BON_{name}": value for name, value in environ.items()})


def test_the_environment_says_by_which_provider_mail_goes() -> None:
    smtp = backends(SMTP_URL="smtp://127.0.0.1", MAIL_FROM="bon@example.org")
    with NotifySimulator() as simulator:
        notify = backends(NOTIFY_API_KEY=simulator.api_key)

    assert isinstance(smtp.mailer(), SmtpMailer)
    assert smtp.mail_variables("digest") == ("MAIL_FROM",)
    assert isinstance(notify.mailer(), NotifyMailer)
    assert notify.mail_variables("digest") == ("NOTIFY_TEMPLATE_DIGEST",)
    assert isinstance(backends().mailer(), NoMailer)
    assert [each.has_mail for each in (smtp, notify, backends())] == [True, True, False]


def test_two_providers_at_once_are_refused() -> None:
    both = backends(SMTP_URL="smtp://127.0.0.1", NOTIFY_API_KEY="key")

    with pytest.raises(ConfigurationError, match="BON_SMTP_URL and BON_NOTIFY_API_KEY"):
        both.mailer()


def test_a_mail_server_needs_a_sender() -> None:
    with pytest.raises(ConfigurationError, match="BON_MAIL_FROM"):
        backends(SMTP_URL="smtp://127.0.0.1").mailer()


def test_notify_gets_a_text_of_ours_as_subject_and_body() -> None:
    with NotifySimulator() as simulator:
        environ = {
            "NOTIFY_API_KEY": simulator.api_key,
            "NOTIFY_BASE_URL": simulator.base_url,
            "NOTIFY_TEMPLATE_DIGEST": "1dea6b4b-48b6-4eb1-8b86-7031de5502d9",
        }
        receipt = backends(**environ).mailer().send(build())

        assert receipt.delivery is Delivery.SENT
        assert simulator.sent[0].personalisation == {"subject": HEBREW, "body": "שלום\n"}
