"""Send e-mail by SMTP, and say honestly what became of each message.

The server's silence means different things at different times: before it was given the text it has taken nothing,
after that nobody can tell.
"""

import contextlib
import hashlib
import ipaddress
import re
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from urllib.parse import unquote, urlsplit

from cath_dagster.adapters.mail_headers import POLICY, write_address, write_text
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.ports.mail import Content, Delivery, MailerUnavailableError, Message, Receipt

SCHEMES = {"smtp": 587, "smtps": 465}
"""With the ports at which mail is submitted where the URL names none."""
ATTEMPTS = 3
FIRST_PAUSE = 1.0
GO_AHEAD = 354
SUCCESS, REFUSED = 200, 500
"""Replies begin with 2 for done, 4 for "not now" and 5 for "never"."""
SERVICE_CLOSING = 421
# The address does not exist, or its mailbox is closed. Others speak of us, of the message, or of a mailbox that is full.
_ADDRESS_CODES = re.compile(r"5\.(1\.(?![78]\b)\d+|2\.1)\b")
_ENHANCED = re.compile(r"\d\.\d+\.\d+")
_MAILBOX_UNAVAILABLE = (550, 553)
"""What servers without enhanced codes answer for an address that does not exist or is not one."""


@dataclass(frozen=True)
class Server:
    """Where mail is handed over, as its URL says."""

    host: str
    port: int
    is_tls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_url(url: str, variable: str) -> Server:
    """Return the server of an SMTP URL.

    Raises `ConfigurationError`, naming `variable` and never the URL: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    # Characters of a password that were not escaped end up in what follows the host.
    if parts.scheme not in SCHEMES or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{variable} is no URL of a mail server; write smtp://user:password@host:port, or smtps://… for TLS from the "
            "start, with a password's special characters as %XX (@ is %40, / is %2F)"
        )
    return Server(
        host=parts.hostname,
        port=port or SCHEMES[parts.scheme],
        is_tls=parts.scheme == "smtps",
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


def parse_sender(value: str, variable: str) -> Address:
    """Return the sender of an address with or without a name; raise `ConfigurationError` if there is none in it."""
    name, spec = parseaddr(value)
    try:
        return Address(display_name=name, addr_spec=_deliverable(spec))
    except ValueError:
        raise ConfigurationError(f"{variable} is {value!r}; write an address like BON <noreply@example.org>") from None


class SmtpMailer:
    """A mail server. What it says is judged and never passed on but for its codes: it may quote addresses."""

    attachment_limit = 0
    """Files would swell every copy in every mailbox; a message says where they lie."""

    def __init__(
        self,
        server: Server,
        *,
        sender: Address,
        now: Callable[[], datetime],
        timeout: float = 30,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take mail to `server`; `timeout` is in seconds, for each answer."""
        self._server = server
        self._sender = sender
        self._now = now
        self._timeout = timeout
        self._sleep = sleep
        self._session: smtplib.SMTP | None = None

    def send(self, message: Message) -> Receipt:
        """Hand over one message; what certainly was not taken is tried again, with a bound. Silence is waited for once."""
        content = message.content
        if content is None:
            return _fail(
                f"template {message.template}: it is written by GOV.UK Notify and has no text to send by SMTP",
                final=True,
            )
        if message.attachment is not None:
            return _fail(f"template {message.template}: files are not sent by SMTP", final=True)
        try:
            recipient = _deliverable(message.recipient)
        except ValueError:
            return self._reject("this is no e-mail address, or one with characters beyond ASCII before its @")
        return self._try(self._compose(message.reference, recipient, content), recipient)

    def _try(self, mail: EmailMessage, recipient: str) -> Receipt:
        says, times = "", 0
        while times < ATTEMPTS:
            if times:
                self._sleep(FIRST_PAUSE * 2.0 ** (times - 1))
            times += 1
            try:
                return self._hand_over(mail, recipient)
            except _RefusedError as refused:
                self._drop()
                says = refused.says
                if not refused.may_pass:
                    return _fail(says, final=True)
                if refused.took_all_our_time:
                    break
        return Receipt(Delivery.FAILED, error=f"{says}, {times} times" if times > 1 else says, is_outage=True)

    def find(self, reference: str) -> Receipt | None:
        """Return that nobody can tell: a mail server keeps no account of what it took."""
        del reference
        return Receipt(Delivery.UNKNOWN)

    def check(self) -> None:
        """Raise `MailerUnavailableError` unless the server answers and lets us in."""
        try:
            self._connected()
        except _RefusedError as refused:
            raise MailerUnavailableError(refused.says) from None
        finally:
            self.close()

    def close(self) -> None:
        """Leave the server; a later message connects anew."""
        session, self._session = self._session, None
        if session is None:
            return
        with contextlib.suppress(OSError, smtplib.SMTPException):
            session.quit()
        session.close()

    def _drop(self) -> None:
        """End the connection without a word: the server may not be listening any more."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _compose(self, reference: str, recipient: str, content: Content) -> EmailMessage:
        mail = EmailMessage(policy=POLICY)
        mail["From"] = write_address(self._sender)
        mail["To"] = recipient
        mail["Subject"] = write_text("Subject", content.subject)
        mail["Date"] = format_datetime(self._now())
        # Of what the message is about, not of this attempt: sent again, it is the same message.
        mail["Message-ID"] = f"<{hashlib.sha256(reference.encode()).hexdigest()[:32]}@{self._sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(content.text)
        mail.add_alternative(content.html, subtype="html")
        return mail

    def _hand_over(self, mail: EmailMessage, recipient: str) -> Receipt:
        """Return what became of one attempt; raise `_RefusedError` where nothing was taken and it is not the address."""
        session = self._connected()
        try:
            receipt = self._announce(session, recipient)
            if receipt is not None:
                return receipt
        except (OSError, smtplib.SMTPException) as error:
            if _is_timeout(error):
                raise self._silence() from None
            raise _RefusedError(f"the mail server ended the connection ({type(error).__name__})") from None
        return self._deliver(session, mail)

    def _announce(self, session: smtplib.SMTP, recipient: str) -> Receipt | None:
        """Say who writes to whom; return why it cannot be, None if the server waits for the text."""
        session.rset()
        code, reply = session.mail(self._sender.addr_spec)
        if code >= SUCCESS + 100:
            raise _refusal(f"the mail server refuses the sender ({_code(code, reply)})", code)
        code, reply = session.rcpt(recipient)
        if code >= SUCCESS + 100:
            return self._judge_recipient(code, reply)
        code, reply = session.docmd("DATA")
        if code == SERVICE_CLOSING:
            raise _RefusedError(f"the mail server closes the connection ({_code(code, reply)})")
        if code != GO_AHEAD:
            return _put_off_or_fail(f"the mail server refuses the message ({_code(code, reply)})", code)
        return None

    def _judge_recipient(self, code: int, reply: bytes) -> Receipt:
        if code == SERVICE_CLOSING:
            raise _RefusedError(f"the mail server closes the connection ({_code(code, reply)})")
        if _blames_address(code, reply, plain_codes=_MAILBOX_UNAVAILABLE):
            return self._reject(f"the mail server says that there is no such mailbox ({_code(code, reply)})")
        return _put_off_or_fail(f"the mail server does not take mail for this recipient ({_code(code, reply)})", code)

    def _deliver(self, session: smtplib.SMTP, mail: EmailMessage) -> Receipt:
        """Give the server the text. From here on its silence says nothing."""
        lines = mail.as_bytes()
        try:
            session.send(re.sub(rb"(?m)^\.", b"..", lines) + (b"" if lines.endswith(b"\r\n") else b"\r\n") + b".\r\n")
            code, reply = session.getreply()
        except (OSError, smtplib.SMTPException):
            self._drop()
            return Receipt(
                Delivery.UNKNOWN,
                error="the mail server gave no answer after the text; it may have taken the message",
                is_outage=True,
            )
        if code < SUCCESS + 100:
            return Receipt(Delivery.SENT, sent_at=self._now().astimezone(UTC))
        if code == SERVICE_CLOSING:
            raise _RefusedError(f"the mail server closes the connection ({_code(code, reply)})")
        if _blames_address(code, reply, plain_codes=()):
            return self._reject(f"the mail server says that there is no such mailbox ({_code(code, reply)})")
        return _put_off_or_fail(f"the mail server refuses the message ({_code(code, reply)})", code)

    def _silence(self) -> "_RefusedError":
        return _RefusedError(f"the mail server gave no answer within {self._timeout:g} s", took_all_our_time=True)

    def _reject(self, error: str) -> Receipt:
        return Receipt(Delivery.REJECTED, sent_at=self._now().astimezone(UTC), error=error)

    def _connected(self) -> smtplib.SMTP:
        """Return an open session that the server has let us into."""
        if self._session is not None and _is_alive(self._session):
            return self._session
        self._drop()
        try:
            self._session = self._connect()
            self._log_in(self._session)
        except ssl.SSLCertVerificationError:
            raise _refusal(
                "the mail server's certificate is not trusted; name its authority's file in SSL_CERT_FILE", REFUSED
            ) from None
        except smtplib.SMTPResponseException as error:
            raise _refusal(f"the mail server refuses us (SMTP {error.smtp_code})", error.smtp_code) from None
        except (OSError, smtplib.SMTPException) as error:
            if _is_timeout(error):
                raise self._silence() from None
            raise _RefusedError(f"the mail server cannot be reached ({type(error).__name__})") from None
        return self._session

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.is_tls:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(server.host, server.port, timeout=self._timeout, context=context)
        return smtplib.SMTP(server.host, server.port, timeout=self._timeout)

    def _log_in(self, session: smtplib.SMTP) -> None:
        session.ehlo_or_helo_if_needed()
        is_tls = self._server.is_tls
        if not is_tls and session.has_extn("starttls"):
            session.starttls(context=ssl.create_default_context())
            session.ehlo()
            is_tls = True
        if self._server.user is None:
            return
        if not is_tls and not _is_loopback(self._server.host):
            raise _refusal("the mail server offers no TLS, and a password is not sent without; use smtps://", REFUSED)
        session.login(self._server.user, self._server.password or "")


class _RefusedError(Exception):
    """Nothing was taken, and it is not the recipient's fault. `may_pass`: trying again may help.

    `took_all_our_time`: the server was silent for the whole timeout, and would be again.
    """

    def __init__(self, says: str, *, may_pass: bool = True, took_all_our_time: bool = False) -> None:
        super().__init__(says)
        self.says = says
        self.may_pass = may_pass
        self.took_all_our_time = took_all_our_time


def _refusal(says: str, code: int) -> _RefusedError:
    return _RefusedError(says, may_pass=code < REFUSED)


def _is_timeout(error: Exception) -> bool:
    """Whether it was the server's silence: the library reports a reply that did not come as a connection that ended."""
    return isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)


def _is_alive(session: smtplib.SMTP) -> bool:
    """Whether the server has not left meanwhile, as servers do after so many messages or so much silence."""
    try:
        code, _ = session.noop()
    except (OSError, smtplib.SMTPException):
        return False
    return code < SUCCESS + 100


def _deliverable(recipient: str) -> str:
    """Return an address as the envelope has it; raise `ValueError` for what is none."""
    name, _, domain = recipient.rpartition("@")
    if not name or not domain:
        raise ValueError("an address has two parts")
    try:
        return Address(addr_spec=f"{name}@{_as_registered(domain)}").addr_spec
    except (HeaderParseError, IndexError):
        raise ValueError("no address") from None


def _as_registered(domain: str) -> str:
    """Return a domain in ASCII, by the rules of IDNA 2008: those of 2003, Python's own, take ß for ss, another domain."""
    if domain.isascii():
        return domain
    import idna

    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        raise ValueError("no domain") from None


def _blames_address(code: int, reply: bytes, *, plain_codes: tuple[int, ...]) -> bool:
    """Whether a reply says that the recipient's address is wrong for good."""
    text = reply.decode(errors="replace")
    if code < REFUSED:
        return False
    if _ENHANCED.match(text):
        return _ADDRESS_CODES.match(text) is not None
    return code in plain_codes


def _code(code: int, reply: bytes) -> str:
    found = _ENHANCED.match(reply.decode(errors="replace"))
    return f"SMTP {code}" + (f" {found[0]}" if found else "")


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _put_off_or_fail(error: str, code: int) -> Receipt:
    """Return that the server refuses this message: for now, by a reply that begins with 4, or for ever."""
    return Receipt(Delivery.FAILED, error=error, may_pass=code < REFUSED)


def _fail(error: str, *, final: bool = False) -> Receipt:
    return Receipt(Delivery.FAILED, error=error, final=final)
