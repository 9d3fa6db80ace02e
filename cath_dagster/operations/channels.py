"""Hand messages to the channels that operators read, by way of Apprise: mail, Teams, Slack and a hundred more."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.operations.alerts import Letter
from cath_dagster.operations.bounds import LONGEST_BODY, LONGEST_TITLE

DIGEST = 8
"""Characters by which two channels of one kind are told apart: nothing of an address can be read from them."""
CONTENT = ("400", "413", "414", "422")
"""Answers that speak of the message: too large, or not to be understood."""
_STATUS = re.compile(r"error=(\d{3})\b")


@dataclass(frozen=True)
class Channel:
    """One address. Its `name` is the same in every process and says nothing that would let others write to it."""

    name: str
    _notifier: Any = field(repr=False)

    @property
    def title_room(self) -> int:
        """How long a title may be here. Where there are none, as in a short message, it stands before the body."""
        (plugin,) = self._notifier
        return min(LONGEST_TITLE, int(plugin.title_maxlen or plugin.body_maxlen // 2))

    @property
    def room(self) -> int:
        """What a body may measure here."""
        (plugin,) = self._notifier
        before = 0 if plugin.title_maxlen else self.title_room + len("\r\n")
        return min(LONGEST_BODY, int(plugin.body_maxlen) - before)

    def send(self, letter: Letter) -> "Refusal | None":
        """Hand over one message; return why the channel did not take it, None if it did."""
        import logging

        from apprise import LogCapture, NotifyFormat, NotifyType

        kind = NotifyType.SUCCESS if letter.is_over else NotifyType.FAILURE
        # What the library logs may hold addresses: it is read for a status, and not passed on.
        with LogCapture(level=logging.WARNING) as said:  # type: ignore[no-untyped-call]
            taken = self._notifier.notify(
                title=letter.title, body=letter.body, notify_type=kind, body_format=NotifyFormat.MARKDOWN
            )
            status = _STATUS.search(said.getvalue())
        if taken:
            return None
        says = f"answered {status[1]}" if status else "no answer, or refused"
        return Refusal(f"{self.name}: {says}", is_of_content=status is not None and status[1] in CONTENT)


@dataclass(frozen=True)
class Refusal:
    """Why a channel did not take a message; `is_of_content` where another one it might."""

    says: str
    is_of_content: bool


def open_channels(urls: Sequence[str], *, variable: str) -> list[Channel]:
    """Return the channels of Apprise's addresses; raise `ConfigurationError` for one that it does not understand."""
    if not urls:
        return []
    # It brings a hundred services with it, and takes most of a second to load.
    from apprise import Apprise, AppriseAsset

    # Without pictures: by default they are fetched from somebody else's server by whoever reads the message.
    asset = AppriseAsset(
        app_id="cath-dagster", app_desc="cath-dagster", app_url="", image_url_mask="", image_url_logo=""
    )

    opened = []
    for number, url in enumerate(urls, 1):
        notifier = Apprise(asset=asset)
        scheme = url.partition("://")[0] if "://" in url else "no scheme"
        if not notifier.add(url):
            raise ConfigurationError(
                f"{variable}: address {number} ({scheme}) is none that Apprise knows; see https://appriseit.com/services/"
            )
        digest = hashlib.sha256(url.encode()).hexdigest()[:DIGEST]
        opened.append(Channel(f"{scheme}-{digest}", notifier))
    return opened
