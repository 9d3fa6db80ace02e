"""Audit rows past their retention go into the archive and out of the table together."""

import itertools
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from cath_dagster.core.model.outcome import RunResult, Status
from tests.hay.hay import Hay
from tests.support.forked import is_killed_at
from tests.support.maintained import outcome

JOB = "cleanup_old_audit_logs"
MOMENT = timedelta(microseconds=1)


def add_row(hay: Hay, **values: Any) -> uuid.UUID:
    """Add a row of nobody's, four months old."""
    return hay.add("audit_logs", **{"action": "user.login", "created_at": hay.ago(days=120), **values})


def archived(hay: Hay) -> set[uuid.UUID]:
    return {key for (key,) in hay.rows("SELECT audit_log_id FROM maintenance.hay_audit_log_archive")}


def test_takes_what_is_older_than_its_own_days_and_keeps_the_rest(hay: Hay) -> None:
    tenant, patient = hay.add_tenant(), hay.add_tenant()
    privacy = hay.ago(days=1_095)
    goes = {
        "a moment older": add_row(hay, created_at=hay.ago(days=90) - MOMENT),
        "of a tenant": add_row(hay, organization_id=tenant),
        "about privacy, three years old": add_row(hay, action="privacy.export.request", created_at=privacy - MOMENT),
        "about a customer's": add_row(hay, action="customer.privacy.deletion", created_at=privacy - MOMENT),
        "of the patient tenant": add_row(hay, organization_id=patient, created_at=hay.ago(days=200) - MOMENT),
        "named alike": add_row(hay, action="privacypolicy.update"),
    }
    stays = {
        "just as old": add_row(hay, created_at=hay.ago(days=90)),
        "about privacy": add_row(hay, action="privacy.deletion.complete", created_at=privacy),
        "about a customer's privacy": add_row(hay, action="customer.privacy.export", organization_id=tenant),
        "of a tenant that waits longer": add_row(hay, organization_id=patient, created_at=hay.ago(days=200)),
        "about privacy, of a tenant with days": add_row(hay, action="privacy.x", organization_id=patient),
    }
    days: dict[str, Any] = {"tenant_days": json.dumps({str(patient): 200})}

    plan = hay.run(JOB, dry_run=True, **days)
    result = hay.run(JOB, **days)
    again = hay.run(JOB, **days)

    assert (result.status, again.changed) == (Status.SUCCESS, 0)
    assert {name for name, key in goes.items() if key not in archived(hay)} == set()
    assert set(hay.column("audit_logs", "id")) == set(stays.values())
    assert archived(hay) == set(goes.values())
    told = outcome(result, "audit_logs")
    assert outcome(plan, "audit_logs").matched == told.deleted == told.archived == len(goes)


def test_no_address_of_anybody_who_was_erased_gets_into_the_archive(hay: Hay) -> None:
    """After an erasure the service writes the address again; of who is there still nothing is lost."""
    address = "anna.o'hara+x@mail.example.org"
    said = {
        "email": address,
        "text": f'line\n{address}, "{address}" and \\{address}\u0007 <{address}>',
        f"of {address}": [{"deep": address}, 7, None],
    }
    row = {
        "changes": said,
        "metadata": said,
        "ip_address": "192.0.2.7",
        "user_agent": "a browser",
        "error_message": address,
    }
    there = hay.add_user()
    kept = add_row(hay, user_id=there, **row)
    scrubbed = [
        add_row(hay, user_id=hay.add_user(deleted_at=hay.ago(days=1)), **row),
        add_row(hay, action="privacy.deletion.complete", created_at=hay.ago(days=1_200), resource=address, **row),
        add_row(hay, **row),
        add_row(hay),
    ]

    assert hay.run(JOB).error is None

    rows = {key: (whole, *rest) for key, whole, *rest in hay.rows(
        "SELECT audit_log_id, archive::text, changes, ip_address, user_agent FROM maintenance.hay_audit_log_archive AS archive"
    )}  # fmt: skip
    assert rows[kept][1:] == (said, "192.0.2.7", "a browser")
    for key in scrubbed:
        assert "@" not in rows[key][0]
        assert rows[key][2:] == (None, None)
    deep = rows[scrubbed[0]][1]["of [REDACTED]"]
    assert deep == [{"deep": "[REDACTED]"}, 7, None]


@pytest.mark.parametrize(
    "config",
    [
        {"retention_days": 29},
        {"retention_days": 0},
        {"tenant_days": '{"00000000-0000-0000-0000-000000000001": 29}'},
        {"tenant_days": "90"},
    ],
)
def test_nothing_goes_below_a_month_whatever_is_set(hay: Hay, config: dict[str, Any]) -> None:
    add_row(hay)

    result = hay.run(JOB, **config)

    assert (result.status, hay.count("audit_logs")) == (Status.FAILED, 1)
    assert next(iter(config)) in (result.error or "")


def test_the_archive_keeps_a_row_for_three_years_from_when_it_came(hay: Hay) -> None:
    insert = (
        "INSERT INTO maintenance.hay_audit_log_archive (audit_log_id, action, created_at, archived_at, archived_by)"
    )
    ids = [uuid.uuid4(), uuid.uuid4()]
    for key, at in zip(ids, (hay.ago(days=1_095), hay.ago(days=1_095) - MOMENT), strict=True):
        hay.connection.execute(f"{insert} VALUES (%s, 'x', %s, %s, 'r')", [key, hay.ago(days=2_000), at])

    result = hay.run(JOB)

    assert outcome(result, "hay_audit_log_archive").deleted == 1
    assert archived(hay) == {ids[0]}


def test_a_row_that_is_made_young_while_the_run_waits_stays(hay: Hay) -> None:
    kept = add_row(hay)

    result = hay.run_beside(JOB, ("UPDATE audit_logs SET created_at = %s WHERE id = %s", [hay.ago(days=1), kept]))

    assert (result.error, archived(hay)) == (None, set())
    assert set(hay.column("audit_logs", "id")) == {kept}


def test_many_go_in_several_batches_and_come_back_where_that_was_asked_for(hay: Hay) -> None:
    hay.connection.execute(
        "INSERT INTO audit_logs (action, created_at) SELECT 'user.login', %s FROM generate_series(1, 2500)",
        [hay.ago(days=120)],
    )

    result = hay.run(JOB, undo_days=7, archive_personal_data_because="a trial")

    assert (outcome(result, "audit_logs").deleted, len(archived(hay))) == (2_500, 2_500)
    assert outcome(result, "audit_logs").batches > 1
    assert hay.value("SELECT sum(row_count) FROM maintenance.archived_rows") == 2_500


def test_killed_anywhere_a_row_is_in_the_table_or_in_the_archive(hay: Hay) -> None:
    def run() -> RunResult:
        return hay.run(JOB)

    seen = set()
    for place in itertools.count(1):
        hay.connection.execute("DELETE FROM audit_logs; DELETE FROM maintenance.hay_audit_log_archive")
        every = {add_row(hay) for _ in range(20)}

        is_killed = is_killed_at(place, run)

        there, gone = set(hay.column("audit_logs", "id")), archived(hay)
        assert (there | gone, there & gone) == (every, set())
        seen.add(len(gone))
        assert run().error is None
        assert archived(hay) == every
        if not is_killed:
            break
    assert len(seen) > 1
