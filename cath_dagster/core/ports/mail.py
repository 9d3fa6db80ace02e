"""What a job asks of a mail provider, and what it answers."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Protocol

from cath_dagster.core.untrusted_text import one_line


class Delivery(enum.StrEnum):
    """What became of one message."""

    SENT = "sent"
    """The provider took it."""
    REJECTED = "rejected"
    """The provider refuses this address for good; sending again cannot help."""
    FAILED = "failed"
    """The provider did not take it; a later run may try again."""
    UNKNOWN = "unknown"
    """No answer came: the provider may or may not have taken it."""
    UNDELIVERED = "undelivered"
    """No provider is configured; the message was rendered and went nowhere."""
    GIVEN_UP = "given_up"
    """Nobody can tell any more what became of it, and it must not go twice."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a message says, in both forms that a mail has."""

    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)

    def __post_init__(self) -> None:
        """Keep the subject to one line, whatever was written into it."""
        object.__setattr__(self, "subject", one_line(self.subject))


@dataclass(frozen=True, kw_only=True)
class Message:
    """One e-mail: rendered by the provider from its template, or by us.

    `template` is our name for it (`media_warning`); the provider's id of that template is configuration.
    `personalisation` fills the provider's template, with words that a user may have written unless they are `Ours`;
    `render` writes the whole mail, once and no sooner than it is
    wanted, so that many can be listed before one is written. `reference` is ours, unique to
    what the message is about: the provider is asked by it later, and a mail's Message-ID follows from it.
    `attachment` becomes a download link under the personalisation key `link_to_file`, to a file of the name `file_name`.
    """

    recipient: str = field(repr=False)
    template: str
    personalisation: Mapping[str, str | list[str]] = field(default_factory=dict, repr=False)
    render: Callable[[], Content] | None = field(default=None, repr=False)
    reference: str
    attachment: bytes | None = field(default=None, repr=False)
    file_name: str | None = None

    @cached_property
    def content(self) -> Content | None:
        """What we wrote; None where the provider writes."""
        return self.render() if self.render is not None else None


@dataclass(frozen=True)
class Receipt:
    """The provider's answer.

    `sent_at` is when it took or rejected the message. `error` is free of personal data; `final` says that every
    further message fails alike.
    """

    delivery: Delivery
    sent_at: datetime | None = None
    error: str | None = None
    final: bool = False
    is_outage: bool = False
    """The provider did not answer as it should, however often it was asked."""
    may_pass: bool = False
    """The provider puts this message off: it may take it in minutes."""

    @property
    def may_be_tried_again(self) -> bool:
        """Whether the message certainly was not taken, and may be in a while."""
        return self.delivery is Delivery.FAILED and (self.may_pass or self.is_outage) and not self.final


class Mailer(Protocol):
    """A mail provider."""

    attachment_limit: int
    """Bytes of an attachment at most."""

    def send(self, message: Message) -> Receipt:
        """Hand over one message; transient faults are retried with a bound."""
        ...

    def find(self, reference: str) -> Receipt | None:
        """Return what the provider knows of an earlier message, None if it never took it.

        `UNKNOWN` from one that cannot be asked. Raises `MailerUnavailableError` where the provider does not answer.
        """
        ...

    def check(self) -> None:
        """Raise `MailerUnavailableError` unless the provider answers, lets us in and knows every template."""
        ...

    def close(self) -> None:
        """Let go of connections; a later message opens them anew."""
        ...


class MailerUnavailableError(Exception):
    """The provider could not be asked."""
