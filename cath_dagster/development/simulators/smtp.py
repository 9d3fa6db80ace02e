"""A mail server on loopback, for samples and tests: it takes e-mails, sends none, and fails on demand."""

import asyncio
import email
import email.policy
import socket
import ssl
import threading
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

NO_SUCH_MAILBOX = "550 5.1.1 no such mailbox"


@dataclass(frozen=True)
class TakenMail:
    """One mail as it was taken."""

    recipient: str
    sender: str
    source: bytes = field(repr=False)

    @property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.source, policy=email.policy.default)

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def message_id(self) -> str:
        return str(self.message["Message-ID"])

    @property
    def text(self) -> str:
        return self._body("plain")

    @property
    def html(self) -> str:
        return self._body("html")

    def _body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        return part.get_content() if part is not None else ""


@dataclass(frozen=True)
class _Fault:
    """What happens to one message when it comes to a command: a reply, or after `seconds` the end of the connection."""

    command: str
    reply: str | None = None
    seconds: float = 0
    takes: bool = False


class SmtpServer:
    """A mail server on 127.0.0.1; `start` and `stop` it, or use it as a context manager.

    With `folder` every mail taken is written there, as a mail program reads it (.eml) and as a browser does (.html).
    With `login` it asks for a user and a password; with `certificate` it speaks TLS, from the start or by STARTTLS.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        login: tuple[str, str] | None = None,
        certificate: ssl.SSLContext | None = None,
        starts_with_tls: bool = False,
        port: int = 0,
    ) -> None:
        self._folder = folder
        self._login = login
        self._certificate = certificate
        self._starts_with_tls = starts_with_tls
        self._port = port
        self._lock = threading.Lock()
        self._mails: list[TakenMail] = []
        self._faults: deque[_Fault] = deque()
        self._replies: dict[str, str] = {}
        self._controller: _Controller | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        if self._controller is None:
            raise RuntimeError("the mail server is not started")
        login = f"{self._login[0]}:{self._login[1]}@" if self._login else ""
        return f"smtp{'s' if self._starts_with_tls else ''}://{login}127.0.0.1:{self._controller.port}"

    @property
    def sent(self) -> list[TakenMail]:
        """The mails taken so far, oldest first."""
        with self._lock:
            return list(self._mails)

    def start(self) -> None:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"loop": asyncio.new_event_loop()}
        if self._login is not None:
            options |= {"authenticator": self._authenticate, "auth_require_tls": False}
        if self._certificate is not None:
            options["ssl_context" if self._starts_with_tls else "tls_context"] = self._certificate
        self._controller = _Controller(_Handler(self), hostname="127.0.0.1", port=self._port, **options)
        self._controller.start()
        # It stays there when it is stopped and started again.
        self._port = self._controller.port

    def stop(self) -> None:
        """Stop at once: connections are cut off."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def reject(self, address: str, reply: str = NO_SUCH_MAILBOX) -> None:
        """Answer so to every message for an address."""
        self._replies[address] = reply

    def accept(self, address: str) -> None:
        """Take messages for an address again."""
        self._replies.pop(address, None)

    def answer_next(self, command: str, reply: str, *, times: int = 1) -> None:
        """Answer so when a message comes to `command`: MAIL, RCPT or DATA, which is answered after the text."""
        self._faults.extend([_Fault(command, reply)] * times)

    def drop_next(self, command: str, *, after_seconds: float = 0, takes: bool = False, times: int = 1) -> None:
        """End the connection when a message comes to `command`; at DATA it may have been taken before."""
        self._faults.extend([_Fault(command, seconds=after_seconds, takes=takes)] * times)

    def fault_at(self, command: str, recipient: str) -> _Fault | None:
        """Return what should happen now, once."""
        if command == "RCPT" and recipient in self._replies:
            return _Fault("RCPT", self._replies[recipient])
        with self._lock:
            if self._faults and self._faults[0].command == command:
                return self._faults.popleft()
        return None

    @property
    def needs_login(self) -> bool:
        return self._login is not None

    def take(self, mail: TakenMail) -> None:
        """Keep a mail."""
        with self._lock:
            self._mails.append(mail)
            if self._folder is not None:
                number = sum(1 for _ in self._folder.glob("*.eml")) + 1
                (self._folder / f"{number:04}.eml").write_bytes(mail.source)
                (self._folder / f"{number:04}.html").write_text(mail.html, encoding="utf-8")

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        del server, session, envelope, mechanism
        given = (data.login.decode(), data.password.decode()) if isinstance(data, LoginPassword) else None
        # Unhandled: the answer 535 is the server's own.
        return AuthResult(success=given == self._login, handled=False)


class _Controller(Controller):
    """A controller that lets the system choose a port, and cuts connections off when it stops."""

    def _create_server(self) -> Awaitable[asyncio.AbstractServer]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.hostname, self.port))
        self.port = listener.getsockname()[1]
        made: Awaitable[asyncio.AbstractServer] = self.loop.create_server(
            self._factory_invoker, sock=listener, ssl=self.ssl_context
        )
        return made


class _Handler:
    def __init__(self, owner: SmtpServer) -> None:
        self._owner = owner

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's names
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._owner.needs_login and not session.authenticated:
            return "530 5.7.0 log in first"
        if reply := await self._fail("MAIL", server, ""):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's names
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del session
        if reply := await self._fail("RCPT", server, address):
            return reply
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's names
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        del session
        source = envelope.original_content or b""
        mails = [TakenMail(recipient, envelope.mail_from or "", source) for recipient in envelope.rcpt_tos]
        if reply := await self._fail("DATA", server, "", mails):
            return reply
        for mail in mails:
            self._owner.take(mail)
        return "250 OK"

    async def _fail(self, command: str, server: SMTP, recipient: str, mails: list[TakenMail] | None = None) -> str:
        """Return the reply of a fault, "" if there is none."""
        fault = self._owner.fault_at(command, recipient)
        if fault is None:
            return ""
        if fault.takes:
            for mail in mails or ():
                self._owner.take(mail)
        if fault.reply is not None:
            return fault.reply
        await asyncio.sleep(fault.seconds)
        cast(asyncio.Transport, server.transport).abort()
        return "421 gone"
