"""Hold what is left after kills against what an undisturbed run leaves."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.kills.remains import Mail, Remains, Row, Volatile
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.ports.mail import Delivery

NOTICES = f"{SCHEMA}.sent_notice"
SHOWN = 300
"""Characters of an example: enough to see which row it is."""


@dataclass(frozen=True)
class Difference:
    """`faults` are what must not be; the counts are of what nobody could have told apart."""

    faults: tuple[str, ...]
    repeated: int = 0
    """Mails that went twice under one Message-ID, since a mail server cannot be asked whether the first one came."""
    given_up: int = 0
    """Mails that may have gone and were not sent again, as a digest is not."""


def compare(expected: Remains, found: Remains, volatile: Volatile) -> Difference:
    """Return what differs beyond what differs by itself."""
    faults: list[str] = []
    for name in expected.tables:
        wanted, got = volatile.rows_of(expected, name), volatile.rows_of(found, name)
        faults += _differences(name, wanted, _as_sent(got) if name == NOTICES else got)
    faults += _differences("files", volatile.files_of(expected), volatile.files_of(found))
    given_up = _count_given_up(found)
    once = {(mail.recipient, mail.message_id): mail for mail in found.mails}
    expected_mails, found_mails = _letters(expected.mails), _letters(list(once.values()))
    too_many, missing = found_mails - expected_mails, expected_mails - found_mails
    if too_many:
        faults.append(f"mails: {too_many.total()} too many, such as {str(next(iter(too_many)))[:SHOWN]}")
    if missing.total() > given_up:
        faults.append(f"mails: {missing.total() - given_up} lost, such as {str(next(iter(missing)))[:SHOWN]}")
    return Difference(tuple(faults), len(found.mails) - len(once), given_up)


def _differences(name: str, wanted: Counter[Row], got: Counter[Row]) -> list[str]:
    return [
        f"{name}: {rows.total()} {says}, such as {str(next(iter(rows)))[:SHOWN]}"
        for says, rows in (("missing", wanted - got), ("too many", got - wanted))
        if rows
    ]


def _as_sent(notices: Counter[Row]) -> Counter[Row]:
    """Return the notices with those as sent that were given up: of these nobody knows, and they are counted apart."""
    known: Counter[Row] = Counter()
    for row, count in notices.items():
        known[tuple(Delivery.SENT.value if value == Delivery.GIVEN_UP else value for value in row)] += count
    return known


def _count_given_up(found: Remains) -> int:
    table = found.tables.get(NOTICES)
    return sum(Delivery.GIVEN_UP in row for row in table.rows) if table is not None else 0


def _letters(mails: Sequence[Mail]) -> Counter[tuple[str, str]]:
    return Counter((mail.recipient, mail.content) for mail in mails)
