"""Send e-mail by GOV.UK Notify through its official client, and say honestly what became of each message."""

import io
import logging
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from cath_dagster.adapters import notify_words
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.ports.mail import Delivery, MailerUnavailableError, Message, Receipt

# The provider's limit for a file behind a link.
ATTACHMENT_LIMIT = 2 * 1024 * 1024
# As long as the provider keeps a file, and as long as a report is kept.
ATTACHMENT_RETENTION = "78 weeks"
FIRST_PAUSE = 1.0
# 9 + 18 + 36 seconds outlast the provider's rate limit, which counts over 60.
FIRST_PAUSE_AT_RATE_LIMIT = 9.0
LONGEST_PAUSE = 60.0

_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


def check_api_key(key: str, variable: str) -> None:
    """Raise `ConfigurationError`, naming `variable` and never the key, unless the key has Notify's format."""
    if not re.fullmatch(rf"\S+-{_UUID}-{_UUID}", key):
        raise ConfigurationError(
            f"{variable} is not a GOV.UK Notify API key: it must read name-<service id>-<secret>, both in the form"
            " 8-4-4-4-12 of a UUID, with no blank or quote around it; copy it again from Notify, API integration"
        )


LOOK_UPS = 2
"""How often a message without an answer is looked up at once; the next run looks again."""


class NotifyMailer:
    """GOV.UK Notify. Its error messages are judged and never passed on: they may quote what was sent."""

    attachment_limit = ATTACHMENT_LIMIT

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str,
        templates: Mapping[str, str],
        now: Callable[[], datetime],
        timeout: float = 30,
        attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take the provider's template ids by our names; `timeout` is in seconds, `attempts` count the first one."""
        from notifications_python_client.notifications import NotificationsAPIClient

        # The client logs the provider's error messages, which can quote what was sent.
        logging.getLogger("notifications_python_client").setLevel(logging.CRITICAL)
        self._client: _Client = NotificationsAPIClient(  # type: ignore[no-untyped-call]  # the client has no types
            api_key, base_url=base_url, timeout=timeout
        )
        self._templates = templates
        self._now = now
        self._attempts = attempts
        self._sleep = sleep

    def send(self, message: Message) -> Receipt:
        """Hand over one message; transient faults are retried with a bound.

        Before a message goes a second time after a fault of the provider's, the provider is asked whether the
        first one was taken after all: it does not recognise a repetition by itself.
        """
        template_id = self._templates.get(message.template)
        if not template_id:
            return _fail(f"template {message.template}: no template id is configured for it", final=True)
        if message.attachment is not None and len(message.attachment) > ATTACHMENT_LIMIT:
            return _fail(f"template {message.template}: the file is larger than {ATTACHMENT_LIMIT} bytes")
        personalisation = _personalise(message)

        def post() -> object:
            return self._client.send_email_notification(
                message.recipient, template_id, personalisation=personalisation, reference=message.reference
            )

        for attempt in range(self._attempts):
            answer = _ask(post, "id")
            receipt = self._judge(message, answer)
            if receipt is not None:
                return receipt
            if answer.took_all_our_time:
                break
            if attempt + 1 < self._attempts:
                self._sleep(_choose_pause(answer, attempt))
        times = f", {attempt + 1} times" if attempt else ""
        return replace(_fail(f"{_describe(answer)}{times}"), is_outage=True)

    def find(self, reference: str) -> Receipt | None:
        """Return what the provider knows of an earlier message, None if it never took it.

        A message that it took and could not deliver for now (`temporary-failure`) counts as sent: the provider has
        tried again for days by itself. One it says was lost on its own side (`technical-failure`) never went out:
        None. The provider forgets a message after the service's retention, seven days unless changed there.

        Raises `MailerUnavailableError` where the provider does not answer, or refuses to.
        """
        return self._find(reference, self._attempts)

    def _find(self, reference: str, attempts: int) -> Receipt | None:
        for attempt in range(attempts):
            answer = self._look_up(reference)
            if answer.is_success:
                return _read_receipt(answer.body, reference)
            if not answer.may_pass or answer.took_all_our_time or attempt + 1 == attempts:
                break
            self._sleep(_choose_pause(answer, attempt))
        raise MailerUnavailableError(_describe(answer))

    def check(self) -> None:
        """Raise `MailerUnavailableError` unless the provider answers, takes the key and knows every template."""
        for template, template_id in self._templates.items():
            answer = _ask(partial(self._client.get_template, template_id), "id")
            if not answer.is_success:
                raise MailerUnavailableError(f"template {template}: {_describe(answer)}")

    def close(self) -> None:
        """There is nothing to close: each request is its own."""

    def _look_up(self, reference: str) -> "_Answer":
        search = partial(self._client.get_all_notifications, template_type="email", reference=reference)
        return _ask(search, "notifications")

    def _judge(self, message: Message, answer: "_Answer") -> Receipt | None:
        """Return the outcome of one attempt, None where another may help."""
        if answer.is_success:
            return Receipt(Delivery.SENT, sent_at=self._now().astimezone(UTC))
        if answer.may_have_arrived:
            return self._resolve(message.reference, answer)
        return None if answer.may_pass else _judge_refusal(message.template, answer, self._now().astimezone(UTC))

    def _resolve(self, reference: str, answer: "_Answer") -> Receipt | None:
        """Return what became of a message that may have arrived, None if it certainly did not and may go again."""
        unknown = Receipt(Delivery.UNKNOWN, error=f"{_describe(answer)}; it may have taken the message", is_outage=True)
        try:
            found = self._find(reference, LOOK_UPS)
        except MailerUnavailableError:
            return unknown
        if found is not None or answer.status is not None:
            return found
        # Silence may mean that it is still being taken, and not yet to be found.
        return unknown


class _Client(Protocol):
    """What we use of the official client."""

    def send_email_notification(
        self, email_address: str, template_id: str, personalisation: Mapping[str, Any], reference: str
    ) -> object: ...

    def get_all_notifications(self, *, template_type: str, reference: str) -> object: ...

    def get_template(self, template_id: str) -> object: ...


@dataclass(frozen=True)
class _Answer:
    """How one request ended. Without a `status` no answer came; `arrived`: the provider may have read the request."""

    status: int | None
    arrived: bool
    took_all_our_time: bool = False
    """The provider was silent for the whole timeout, and would be again."""
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    errors: Sequence[tuple[str, str]] = field(default=(), repr=False)
    """The provider's error names and messages, the latter to be looked at and not to be passed on."""

    @property
    def is_success(self) -> bool:
        return self.status is not None and self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def may_have_arrived(self) -> bool:
        """A fault of the provider's, or silence: the message may have been taken before."""
        return self.arrived and (self.status is None or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR)

    @property
    def may_pass(self) -> bool:
        """Trying again may help."""
        daily = any(name == "TooManyRequestsError" for name, _ in self.errors)
        return (
            self.status is None
            or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            or (self.status == HTTPStatus.TOO_MANY_REQUESTS and not daily)
        )


def _ask(call: Callable[[], object], expected: str) -> _Answer:
    """Make one request whose answer, if it is the provider's, holds the key `expected`."""
    from notifications_python_client.errors import HTTPError, InvalidResponse

    try:
        body = call()
        if isinstance(body, dict) and expected in body:
            return _Answer(200, arrived=True, body=body)
        # A success that is not the provider's, as from a proxy in its place.
        return _Answer(None, arrived=True)
    except InvalidResponse:
        return _Answer(None, arrived=True)
    except HTTPError as error:
        # The client reports a request without any answer as status 503: the response tells the two apart.
        if error.response is None:
            cause = error.__cause__
            return _Answer(None, arrived=not _was_unsent(cause), took_all_our_time=_is_timeout(cause))
        return _Answer(error.response.status_code, arrived=True, errors=_read_errors(error.message))


def _is_timeout(cause: BaseException | None) -> bool:
    import requests

    return isinstance(cause, requests.Timeout)


def _was_unsent(cause: BaseException | None) -> bool:
    """Tell whether a failed request certainly did not reach the provider."""
    import requests
    from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NameResolutionError, NewConnectionError

    if not isinstance(cause, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError):
        # The request could not be made at all, for its URL for instance.
        return True
    if isinstance(cause, requests.exceptions.ProxyError | requests.ConnectTimeout):
        return True
    reason = cause.args[0] if cause.args else None
    reason = reason.reason if isinstance(reason, MaxRetryError) else reason
    if isinstance(reason, ConnectTimeoutError | NameResolutionError | NewConnectionError):
        return True
    return any(isinstance(argument, ssl.SSLCertVerificationError) for argument in getattr(reason, "args", ()))


def _read_errors(errors: object) -> Sequence[tuple[str, str]]:
    if not isinstance(errors, list):
        return ()
    return [(str(error.get("error")), str(error.get("message"))) for error in errors if isinstance(error, dict)]


def _read_receipt(body: Mapping[str, Any], reference: str) -> Receipt | None:
    found = [entry for entry in body["notifications"] if entry["reference"] == reference]
    taken = [entry for entry in found if entry["status"] not in ("permanent-failure", "technical-failure")]
    rejected = [entry for entry in found if entry["status"] == "permanent-failure"]
    if not taken and not rejected:
        return None
    delivery = Delivery.SENT if taken else Delivery.REJECTED
    error = None if taken else "the address does not exist or refuses mail for good"
    # The first of several: what was promised with a message counts from when it went first.
    sent_at = min(datetime.fromisoformat(entry["created_at"]) for entry in taken or rejected)
    return Receipt(delivery, sent_at=sent_at.astimezone(UTC), error=error)


def _judge_refusal(template: str, answer: _Answer, at: datetime) -> Receipt:
    if answer.status != HTTPStatus.BAD_REQUEST:
        return _fail(_describe(answer), final=answer.status in (401, 403, 429))
    messages = [message for _, message in answer.errors]
    # Together with another error it is the request that is wrong, and the address is not blamed for good.
    if messages and all(message.startswith("email_address") for message in messages):
        return Receipt(Delivery.REJECTED, at, "GOV.UK Notify says that this is not a valid e-mail address")
    text = "\n".join(messages)
    for pattern, advice, final in _REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            return _fail(f"template {template}: {advice}", final=final)
    return _fail(f"template {template}: {_describe(answer)}")


_REFUSALS: Sequence[tuple[str, str, bool]] = (
    (
        "send to this recipient",
        "the API key or the service may not send to this recipient; use a live key of a service that is live",
        False,
    ),
    (
        "missing personalisation",
        "the template at GOV.UK Notify has a placeholder that this message does not fill; compare the two",
        False,
    ),
    (
        "template_id|template not found|template.* deleted|template.*not.* email",
        "GOV.UK Notify has no such e-mail template; check the template id configured for it and the API key's service",
        True,
    ),
    (
        "file|document|virus",
        "GOV.UK Notify does not take the file; check that the service may send files by e-mail (its settings page)",
        False,
    ),
)


def _describe(answer: _Answer) -> str:
    if answer.status is None:
        return "GOV.UK Notify gave no answer" if answer.arrived else "GOV.UK Notify cannot be reached"
    if answer.status in (401, 403):
        return f"GOV.UK Notify refuses the API key (HTTP {answer.status}); check the key and this machine's clock"
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS and not answer.may_pass:
        return "GOV.UK Notify's daily limit of this service is reached (HTTP 429); it is lifted at midnight"
    names = sorted({name for name, _ in answer.errors if re.fullmatch("[A-Za-z]{1,40}", name)})
    return f"GOV.UK Notify answered HTTP {answer.status}" + (f" ({', '.join(names)})" if names else "")


def _choose_pause(answer: _Answer, attempt: int) -> float:
    first = FIRST_PAUSE_AT_RATE_LIMIT if answer.status == HTTPStatus.TOO_MANY_REQUESTS else FIRST_PAUSE
    return min(first * float(2**attempt), LONGEST_PAUSE)


def _personalise(message: Message) -> dict[str, Any]:
    from notifications_python_client.utils import prepare_upload

    personalisation = {key: notify_words.fill(value) for key, value in message.personalisation.items()}
    if message.content is not None:
        # For a template that is nothing but ((subject)) and ((body)); Markdown is rendered in the latter alone.
        personalisation |= {"subject": message.content.subject, "body": notify_words.body(message.content.text)}
    if message.attachment is not None:
        personalisation["link_to_file"] = prepare_upload(  # type: ignore[no-untyped-call]  # the client has no types
            io.BytesIO(message.attachment),
            # Without one the provider guesses what it is, and a short table is plain text to it.
            filename=message.file_name,
            confirm_email_before_download=False,
            retention_period=ATTACHMENT_RETENTION,
        )
    return personalisation


def _fail(error: str, *, final: bool = False) -> Receipt:
    return Receipt(Delivery.FAILED, error=error, final=final)
