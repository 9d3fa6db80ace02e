"""A GOV.UK Notify on loopback, for samples and tests: it takes e-mails, sends none, and fails on demand."""

import argparse
import base64
import binascii
import json
import os
import re
import signal
import sys
import threading
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import jwt
from typing_extensions import override

from cath_dagster.development.simulators.loopback import Loopback, LoopbackServer

# The provider's own limits: a token's age, a file's size and the length of its name.
TOKEN_LEEWAY_SECONDS = 30
FILE_LIMIT = 2 * 1024 * 1024
FILE_NAME_LIMIT = 100


@dataclass(frozen=True)
class SentFile:
    """A file behind the link in a mail."""

    content: bytes = field(repr=False)
    retention_period: str | None
    confirm_email_before_download: bool | None
    name: str | None = None


@dataclass(frozen=True)
class SentMail:
    """One mail as it was taken; of a file the personalisation holds the link."""

    id: str
    reference: str | None
    email_address: str
    template_id: str
    personalisation: Mapping[str, Any]
    created_at: str
    file: SentFile | None = None


@dataclass(frozen=True)
class _Fault:
    """What happens to one request: an error answer, or none at all after `seconds`."""

    answer: tuple[int, str, str] | None = None
    seconds: float = 0
    after_taking: bool = False


class _RequestError(Exception):
    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(status, error, message)
        self.status = status
        self.error = error
        self.message = message


class NotifySimulator(Loopback):
    """GOV.UK Notify's API on 127.0.0.1, as far as e-mails go; `start` and `stop` it, or use it as a context manager.

    With `log_path` every mail taken is a JSON line there, and those lines are known again at the next start.
    """

    def __init__(self, *, port: int = 0, api_key: str | None = None, log_path: Path | None = None) -> None:
        super().__init__(port)
        self.api_key = api_key or f"simulator-{uuid.uuid4()}-{uuid.uuid4()}"
        self._log_path = log_path
        self._lock = threading.Lock()
        self._mails: list[SentMail] = []
        self._statuses: dict[str, str] = {}
        self._faults: deque[_Fault] = deque()
        self._rejected: set[str] = set()
        self._lost_templates: set[str] = set()

    @property
    def base_url(self) -> str:
        return f"http://{self.address}"

    @property
    def sent(self) -> list[SentMail]:
        """The mails taken so far, oldest first."""
        with self._lock:
            return list(self._mails)

    @override
    def start(self) -> None:
        if self._log_path is not None and self._log_path.exists():
            self._mails = [_load_mail(line) for line in self._log_path.read_text(encoding="utf-8").splitlines()]
        super().start()

    def _listen(self, port: int) -> LoopbackServer:
        return _Server(self, port)

    def fail_next(self, status: int, error: str, message: str, times: int = 1) -> None:
        """Answer the next requests with this error."""
        self._add_faults(_Fault(answer=(status, error, message)), times)

    def hang_next(self, seconds: float, times: int = 1, *, after_taking: bool = False) -> None:
        """Let the next requests hang and then close them without an answer; `after_taking` the mail in them."""
        self._add_faults(_Fault(seconds=seconds, after_taking=after_taking), times)

    def close_next(self, times: int = 1, *, after_taking: bool = False) -> None:
        """Close the next requests without an answer; `after_taking` the mail in them."""
        self._add_faults(_Fault(after_taking=after_taking), times)

    def reject(self, address: str) -> None:
        """Answer from now on that this address is not valid."""
        with self._lock:
            self._rejected.add(address)

    def lose_template(self, template_id: str) -> None:
        """Answer from now on that there is no such template; every other id is one."""
        with self._lock:
            self._lost_templates.add(template_id)

    def settle(self, reference: str, status: str) -> None:
        """Report this status (`delivered`, `permanent-failure`, …) for the mails of a reference."""
        with self._lock:
            self._statuses[reference] = status

    def take_fault(self) -> _Fault | None:
        with self._lock:
            return self._faults.popleft() if self._faults else None

    def authenticate(self, header: str | None) -> None:
        """Raise unless the token was signed with our key, half a minute ago at most."""
        if not header or not header.startswith("Bearer "):
            raise _RequestError(401, "AuthError", "Unauthorized: authentication token must be provided")
        service_id, secret = self.api_key[-73:-37], self.api_key[-36:]
        try:
            claims = jwt.decode(
                header.removeprefix("Bearer "), secret, algorithms=["HS256"], leeway=TOKEN_LEEWAY_SECONDS
            )
        except jwt.InvalidTokenError:
            raise _RequestError(403, "AuthError", "Invalid token: API key not found") from None
        if claims.get("iss") != service_id:
            raise _RequestError(403, "AuthError", "Invalid token: service not found")
        if abs(datetime.now(UTC).timestamp() - claims.get("iat", 0)) > TOKEN_LEEWAY_SECONDS:
            clock = f"Error: Your system clock must be accurate to within {TOKEN_LEEWAY_SECONDS} seconds"
            raise _RequestError(403, "AuthError", clock)

    def take(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take one mail and return the provider's answer, or raise the provider's refusal."""
        address, template_id = body.get("email_address"), body.get("template_id")
        with self._lock:
            rejected, lost = self._rejected.copy(), self._lost_templates.copy()
        if not isinstance(address, str):
            raise _RequestError(400, "ValidationError", "email_address is a required property")
        if address in rejected or not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", address):
            raise _RequestError(400, "ValidationError", "email_address Not a valid email address")
        if not _is_uuid(template_id):
            raise _RequestError(400, "ValidationError", "template_id is not a valid UUID")
        if template_id in lost:
            raise _RequestError(400, "BadRequestError", "Template not found")
        personalisation, file = _take_file(body.get("personalisation") or {})
        mail = SentMail(
            id=str(uuid.uuid4()),
            reference=body.get("reference"),
            email_address=address,
            template_id=str(template_id),
            personalisation=personalisation,
            created_at=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            file=file,
        )
        self._keep(mail)
        return {
            "id": mail.id,
            "reference": mail.reference,
            "uri": f"{self.base_url}/v2/notifications/{mail.id}",
            "template": self._describe_template(mail.template_id),
            "content": {"subject": "Subject", "body": "Body", "from_email": "simulator@notifications.service.gov.uk"},
            "scheduled_for": None,
        }

    def find_mails(self, reference: str | None) -> Mapping[str, Any]:
        with self._lock:
            found = [mail for mail in reversed(self._mails) if reference in (None, mail.reference)]
            statuses = dict(self._statuses)
        query = f"?reference={reference}" if reference else ""
        return {
            "notifications": [self._describe_mail(mail, statuses) for mail in found],
            "links": {"current": f"{self.base_url}/v2/notifications{query}"},
        }

    def find_template(self, template_id: str) -> Mapping[str, Any]:
        with self._lock:
            lost = template_id in self._lost_templates
        if not _is_uuid(template_id):
            raise _RequestError(400, "ValidationError", "id is not a valid UUID")
        if lost:
            raise _RequestError(404, "NoResultFound", "No result found")
        return self._describe_template(template_id) | {"type": "email", "name": "Template", "body": "Body"}

    def find_templates(self) -> Mapping[str, Any]:
        """Return the templates that mails were taken for: any other id would do too."""
        ids = dict.fromkeys(mail.template_id for mail in self.sent)
        return {"templates": [self.find_template(template_id) for template_id in ids]}

    def _add_faults(self, fault: _Fault, times: int) -> None:
        with self._lock:
            self._faults.extend([fault] * times)

    def _keep(self, mail: SentMail) -> None:
        with self._lock:
            if self._log_path is not None:
                # The lines hold addresses: readable by their owner alone.
                descriptor = os.open(self._log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                with os.fdopen(descriptor, "a", encoding="utf-8") as log:
                    log.write(_dump_mail(mail))
            self._mails.append(mail)

    def _describe_template(self, template_id: str) -> dict[str, Any]:
        return {"id": template_id, "version": 1, "uri": f"{self.base_url}/v2/template/{template_id}"}

    def _describe_mail(self, mail: SentMail, statuses: Mapping[str, str]) -> Mapping[str, Any]:
        return {
            "id": mail.id,
            "reference": mail.reference,
            "email_address": mail.email_address,
            "phone_number": None,
            "type": "email",
            "status": statuses.get(mail.reference or "", "delivered"),
            "template": self._describe_template(mail.template_id),
            "subject": "Subject",
            "body": "Body",
            "created_at": mail.created_at,
            "sent_at": mail.created_at,
            "completed_at": mail.created_at,
            "created_by_name": None,
            "scheduled_for": None,
        }


class _Server(LoopbackServer):
    def __init__(self, simulator: NotifySimulator, port: int) -> None:
        self.simulator = simulator
        super().__init__(port, _Handler)


class _Handler(BaseHTTPRequestHandler):
    @property
    def simulator(self) -> NotifySimulator:
        return cast("_Server", self.server).simulator

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a request's line holds references."""

    def do_GET(self) -> None:
        self._handle(b"")

    def do_POST(self) -> None:
        self._handle(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _handle(self, content: bytes) -> None:
        fault = self.simulator.take_fault()
        if fault and fault.answer is None and not fault.after_taking:
            self.simulator.stopping.wait(fault.seconds)
            return
        try:
            if fault and fault.answer:
                raise _RequestError(*fault.answer)
            self.simulator.authenticate(self.headers.get("Authorization"))
            status, body = self._route(content)
        except _RequestError as error:
            details = [{"error": error.error, "message": error.message}]
            status, body = error.status, {"status_code": error.status, "errors": details}
        if fault and fault.after_taking:
            self.simulator.stopping.wait(fault.seconds)
            return
        self._answer(status, body)

    def _route(self, content: bytes) -> tuple[int, Mapping[str, Any]]:
        parts = urlsplit(self.path)
        match self.command, parts.path.strip("/").split("/"):
            case "POST", ["v2", "notifications", "email"]:
                return 201, self.simulator.take(_parse(content))
            case "GET", ["v2", "notifications"]:
                return 200, self.simulator.find_mails(parse_qs(parts.query).get("reference", [None])[0])
            case "GET", ["v2", "templates"]:
                return 200, self.simulator.find_templates()
            case "GET", ["v2", "template", template_id]:
                return 200, self.simulator.find_template(template_id)
        raise _RequestError(404, "NoResultFound", "The requested URL was not found on the server.")

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _parse(content: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise _RequestError(400, "BadRequestError", "Invalid JSON supplied in POST data")
    return body


def _take_file(personalisation: Mapping[str, Any]) -> tuple[Mapping[str, Any], SentFile | None]:
    upload = personalisation.get("link_to_file")
    if not isinstance(upload, dict):
        return personalisation, None
    try:
        content = base64.b64decode(upload["file"], validate=True)
    except (KeyError, TypeError, binascii.Error):
        raise _RequestError(400, "ValidationError", "personalisation file is not base64") from None
    if len(content) > FILE_LIMIT:
        raise _RequestError(400, "ValidationError", "Uploaded file exceeds file size limit of 2 MB")
    name = upload.get("filename")
    if name is not None and (len(name) > FILE_NAME_LIMIT or not re.search(r"\.[A-Za-z0-9]+$", name)):
        raise _RequestError(400, "ValidationError", "personalisation `filename` must end with a file extension")
    file = SentFile(content, upload.get("retention_period"), upload.get("confirm_email_before_download"), name)
    link = f"https://documents.service.gov.uk/d/{uuid.uuid4()}"
    return {**personalisation, "link_to_file": link}, file


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(uuid.UUID(value))
    except ValueError:
        return False


def _dump_mail(mail: SentMail) -> str:
    fields: dict[str, Any] = dict(vars(mail))
    if mail.file is not None:
        fields["file"] = vars(mail.file) | {"content": base64.b64encode(mail.file.content).decode()}
    return json.dumps(fields) + "\n"


def _load_mail(line: str) -> SentMail:
    fields = json.loads(line)
    if fields["file"] is not None:
        content = base64.b64decode(fields["file"].pop("content"))
        fields["file"] = SentFile(content, **fields["file"])
    return SentMail(**fields)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m cath_dagster.development.simulators.notify", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; a free one unless given")
    parser.add_argument("--log", type=Path, help="file to which every mail is appended, one JSON line each")
    parser.add_argument("--api-key", help="the key to be accepted; a new one unless given")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with NotifySimulator(port=options.port, api_key=options.api_key, log_path=options.log) as simulator:
        lines = [f"GOV.UK Notify simulator on {simulator.base_url}"]
        if options.api_key is None:
            lines.append(f"API key: {simulator.api_key}")
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
