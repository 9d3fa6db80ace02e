"""The text of the test of a job that purges one table by the age of its rows."""

import re

from cath_dagster.development.new_job.facts import Referring, Target
from cath_dagster.development.new_job.names import Order

_HEAD = '''"""{job}: rows of {table} that are older than their retention period go, all others stay."""

from collections.abc import Iterator
from datetime import {dates}
{zone}
import pytest

from {package} import {constant}
{naive}from tests.support.databases import Databases
from tests.support.maintained import Maintained, outcome
from tests.support.rows import add_row, key_of, keys, maintained

JOB, TABLE, BY = "{job}", "{table}", "{by}"
RETENTION = timedelta(days={days})
MOMENT = timedelta({moment})


@pytest.fixture
def service(databases: Databases) -> Iterator[Maintained]:
    with maintained({constant}, databases, as_of=datetime(2026, 11, 18, 4, 0, tzinfo=UTC)) as opened:
        yield opened


def at(service: Maintained, age: timedelta) -> {stamp_type}:
    """Return what the column holds in a row of that age."""
    return {stamp}


def add(service: Maintained, age: timedelta) -> object:
    """Add a row of that age and return its key."""
    return add_row(service, TABLE, **{{BY: at(service, age)}})


def test_deletes_a_row_older_than_the_retention_period(service: Maintained) -> None:
    add(service, RETENTION + MOMENT)

    result = service.run(JOB)

    assert (result.status, result.error) == ("success", None)
    assert keys(service, TABLE) == set()
    assert (outcome(result, TABLE).matched, outcome(result, TABLE).deleted) == (1, 1)


def test_keeps_a_row_that_is_just_as_old_and_a_younger_one(service: Maintained) -> None:
    kept = {{add(service, RETENTION), add(service, timedelta())}}

    service.run(JOB)

    assert keys(service, TABLE) == kept


def test_the_retention_period_is_a_setting(service: Maintained) -> None:
    add(service, timedelta(days=2) + MOMENT)
    kept = add(service, timedelta(days=2))

    service.run(JOB, retention_days=2)

    assert keys(service, TABLE) == {{kept}}


def test_an_empty_table_is_nothing_to_do(service: Maintained) -> None:
    result = service.run(JOB)

    assert (result.status, outcome(result, TABLE).matched) == ("success", 0)


def test_a_dry_run_counts_and_changes_nothing(service: Maintained) -> None:
    expired = {{add(service, RETENTION + MOMENT), add(service, RETENTION + MOMENT)}}

    result = service.run(JOB, dry_run=True)

    assert outcome(result, TABLE).matched == 2
    assert keys(service, TABLE) == expired


def test_a_second_run_finds_nothing(service: Maintained) -> None:
    add(service, RETENTION + MOMENT)
    service.run(JOB)

    again = service.run(JOB)

    assert outcome(again, TABLE).counts() == dict.fromkeys(outcome(again, TABLE).counts(), 0)


def test_spares_a_row_that_is_renewed_while_the_run_waits_for_it(service: Maintained) -> None:
    renewed = add(service, RETENTION + MOMENT)
    change = f'UPDATE "{{TABLE}}" SET "{{BY}}" = %s WHERE "{{key_of(service, TABLE)}}" = %s'

    result = service.run_beside(JOB, (change, [at(service, timedelta()), renewed]))

    assert result.status == "success"
    assert keys(service, TABLE) == {{renewed}}
'''
_NULL = """

def test_keeps_a_row_without_{by_name}(service: Maintained) -> None:
    kept = add_row(service, TABLE, **{{BY: None}})

    service.run(JOB)

    assert keys(service, TABLE) == {{kept}}
"""
_ALONG = """

def test_takes_rows_of_{name}_along(service: Maintained) -> None:
    add_row(service, "{child}", {column}=add(service, RETENTION + MOMENT))

    result = service.run(JOB)

    assert (outcome(result, "{child}").deleted, keys(service, "{child}")) == (1, set())
"""
_HELD = """

def test_keeps_a_row_to_which_{name}_refers(service: Maintained) -> None:
    held = add(service, RETENTION + MOMENT)
    add_row(service, "{child}", {column}=held)

    result = service.run(JOB)

    assert held in keys(service, TABLE)
    assert (outcome(result, TABLE).kept, outcome(result, TABLE).deleted) == (1, 0)
"""


def render_test(order: Order, target: Target) -> str:
    """Return the test's file: the boundary, NULLs, dry run, second run, a concurrent writer, and the foreign keys."""
    is_date = target.by.type_name == "date"
    is_abroad = is_date and order.location.timezone != "UTC"
    stamps = {
        "timestamptz": "service.as_of - age",
        "timestamp": "naive_utc(service.as_of - age)",
        "date": f"(service.as_of - age).astimezone(ZoneInfo({order.constant}.timezone)).date()"
        if is_abroad
        else "(service.as_of - age).date()",
    }
    head = _HEAD.format(
        job=order.job,
        table=target.table.name,
        by=target.by.name,
        days=order.days,
        package=order.location.package,
        constant=order.constant,
        dates=f"UTC, {'date, ' if is_date else ''}datetime, timedelta",
        zone="from zoneinfo import ZoneInfo\n" if is_abroad else "",
        naive="from cath_dagster.core.instants import naive_utc\n" if target.by.type_name == "timestamp" else "",
        moment="days=1" if is_date else f"microseconds={10 ** (6 - target.by.digits)}",
        stamp=stamps[target.by.type_name],
        stamp_type="date" if is_date else "datetime",
    )
    null = "" if target.by.is_required else _NULL.format(by_name=_word(target.by.name))
    return head + null + "".join(_of_key(each, target) for each in target.referring)


def _of_key(each: Referring, target: Target) -> str:
    """Return the test of one foreign key; tables to which two of them lead are told apart by the column."""
    is_one = sum(other.table.name == each.table.name for other in target.referring) == 1
    name = each.table.name if is_one else f"{each.table.name}_by_{each.column.name}"
    text = _ALONG if each.goes_along else _HELD
    return text.format(name=_word(name), child=each.table.name, column=each.column.name)


def _word(name: str) -> str:
    return re.sub(r"\W", "_", name.lower())
