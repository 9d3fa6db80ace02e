"""draft_cleanup: drafts that nobody touched for thirty days go with their items; those that are held stay."""

import uuid

import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.inspection.explain import explain
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.restore.preparation import Request
from cath_dagster.core.restore.restore import restore
from cath_dagster.core.run.spec import load_specs
from tests.bon.bon import ADD_AUDIT, Bon
from tests.support.maintained import outcome

JOB = "draft_cleanup"


def invoices(bon: Bon) -> set[object]:
    return {row[0] for row in bon.rows("SELECT id FROM invoices")}


@pytest.fixture
def business(bon: Bon) -> uuid.UUID:
    return bon.add_business()


def test_deletes_an_old_draft_with_its_items_and_payments(bon: Bon, business: uuid.UUID) -> None:
    draft = bon.add_draft(business)
    for position in (1, 2):
        bon.add_item(draft, position)
    bon.add_payment(draft)

    result = bon.run(JOB)

    assert [bon.count(table) for table in ("invoices", "invoice_items", "invoice_payments")] == [0, 0, 0]
    deleted = {each.target: each.deleted for each in result.outcomes}
    assert deleted == {"invoices": 1, "invoice_items": 2, "invoice_payments": 1}


def test_keeps_a_draft_touched_exactly_thirty_days_ago(bon: Bon, business: uuid.UUID) -> None:
    kept = bon.add_draft(business, updated_at=bon.ago(days=30))
    bon.add_draft(business, updated_at=bon.ago(days=30, microseconds=1))

    bon.run(JOB)

    assert invoices(bon) == {kept}


@pytest.mark.parametrize("status", ["finalized", "sending", "sent", "paid", "partially_paid", "cancelled", "credited"])
def test_keeps_whatever_is_no_draft(bon: Bon, business: uuid.UUID, status: str) -> None:
    kept = bon.add_draft(business, days=400, status=status)

    bon.run(JOB)

    assert invoices(bon) == {kept}


def test_the_retention_period_is_a_setting(bon: Bon, business: uuid.UUID) -> None:
    bon.add_draft(business, days=11)

    bon.run(JOB, retention_days=12)
    assert len(invoices(bon)) == 1

    bon.environ["BON_DRAFT_CLEANUP_RETENTION_DAYS"] = "10"
    bon.run(JOB)
    assert len(invoices(bon)) == 0


def test_counts_the_deleted_drafts_per_business(bon: Bon) -> None:
    few, many = bon.add_business(), bon.add_business()
    bon.add_draft(few)
    for _ in range(3):
        bon.add_draft(many)

    result = bon.run(JOB)

    assert outcome(result, "invoices").details["by_business_id"] == [f"{many}: 3", f"{few}: 1"]


def test_keeps_and_reports_a_draft_that_the_audit_log_refers_to(bon: Bon, business: uuid.UUID) -> None:
    held, free = bon.add_draft(business), bon.add_draft(business)
    bon.add_audit(business, held)

    result = bon.run(JOB)

    assert result.status == "success"
    assert invoices(bon) == {held}
    found = outcome(result, "invoices")
    assert (found.deleted, found.kept, found.details["held_ids"]) == (1, 1, [str(held)])
    assert any(str(held) in note for note in result.notes)
    assert str(free) not in str(result)


def test_keeps_and_reports_a_draft_that_another_invoice_credits(bon: Bon, business: uuid.UUID) -> None:
    held = bon.add_draft(business)
    credit = bon.add_invoice(business, document_type="credit_note", credited_invoice_id=held)

    result = bon.run(JOB)

    assert invoices(bon) == {held, credit}
    assert outcome(result, "invoices").kept == 1


def test_deletes_a_draft_that_an_emergency_number_names(bon: Bon, business: uuid.UUID) -> None:
    draft = bon.add_draft(business)
    bon.insert("emergency_allocation_numbers", business_id=business, number="1", used_for_invoice_id=draft)

    bon.run(JOB)

    assert invoices(bon) == set()
    assert bon.count("emergency_allocation_numbers", "used_for_invoice_id IS NULL") == 1


def test_a_draft_goes_with_the_draft_of_a_credit_note_that_credits_it(bon: Bon, business: uuid.UUID) -> None:
    drafts = [bon.add_draft(business) for _ in range(4)]
    bon.add_draft(business, document_type="credit_note", credited_invoice_id=drafts[0])

    plan = bon.run(JOB, dry_run=True)
    result = bon.run(JOB)

    assert outcome(plan, "invoices").matched == outcome(result, "invoices").deleted == 5
    assert invoices(bon) == set()


def test_a_draft_stays_with_the_draft_of_a_credit_note_that_is_held(bon: Bon, business: uuid.UUID) -> None:
    credited = bon.add_draft(business)
    credit = bon.add_draft(business, document_type="credit_note", credited_invoice_id=credited)
    bon.add_audit(business, credit)

    plan = bon.run(JOB, dry_run=True)
    result = bon.run(JOB)

    assert invoices(bon) == {credited, credit}
    assert outcome(plan, "invoices").matched == outcome(result, "invoices").deleted == 0
    assert outcome(result, "invoices").kept == 2


def test_a_draft_stays_that_a_credit_note_touched_lately_credits(bon: Bon, business: uuid.UUID) -> None:
    credited = bon.add_draft(business)
    credit = bon.add_draft(business, days=1, document_type="credit_note", credited_invoice_id=credited)

    bon.run(JOB)

    assert invoices(bon) == {credited, credit}


def test_explain_names_the_key_that_holds_a_draft(bon: Bon, business: uuid.UUID) -> None:
    held = bon.add_draft(business)
    bon.add_audit(business, held)
    with Database(open_engine(bon.url, variable="URL", application_name="explain:1")) as database:
        found = explain(database, load_specs(bon.location), "invoices", str(held), now=bon.as_of, environ=bon.environ)

    (forecast,) = found.forecasts
    assert forecast.at is None
    assert [words for words in forecast.unmet if "shaam_audit_log.invoice_id" in words] == list(forecast.unmet)


def test_spares_a_draft_that_is_touched_while_the_run_waits_for_it(bon: Bon, business: uuid.UUID) -> None:
    touched, other = bon.add_draft(business), bon.add_draft(business)
    bon.add_item(touched)

    result = bon.run_beside(JOB, ("UPDATE invoices SET updated_at = now() WHERE id = %s", [touched]))

    assert result.status == "success"
    assert invoices(bon) == {touched}
    assert bon.count("invoice_items") == 1
    assert outcome(result, "invoices").details["by_business_id"] == [f"{business}: 1"]
    assert other not in invoices(bon)


def test_spares_a_draft_that_gets_a_reference_while_the_run_waits_for_it(bon: Bon, business: uuid.UUID) -> None:
    held = bon.add_draft(business)
    result = bon.run_beside(JOB, (ADD_AUDIT, [business, held]))

    assert result.status == "success"
    assert invoices(bon) == {held}
    assert outcome(result, "invoices").kept == 1


def test_a_dry_run_counts_what_would_go_and_what_is_held(bon: Bon, business: uuid.UUID) -> None:
    held, free = bon.add_draft(business), bon.add_draft(business)
    bon.add_item(free)
    bon.add_audit(business, held)

    result = bon.run(JOB, dry_run=True)

    assert {each.target: each.matched for each in result.outcomes} == {
        "invoices": 1,
        "invoice_items": 1,
        "invoice_payments": 0,
    }
    assert outcome(result, "invoices").details["held_ids"] == [str(held)]
    assert invoices(bon) == {held, free}


def test_takes_many_drafts_in_several_batches(bon: Bon, business: uuid.UUID) -> None:
    bon.connection.execute(
        "INSERT INTO invoices (business_id, document_type, updated_at)"
        " SELECT %s, 'tax_invoice', %s FROM generate_series(1, 3000)",
        [business, bon.ago(days=40)],
    )

    result = bon.run(JOB)

    found = outcome(result, "invoices")
    assert (found.deleted, bon.count("invoices")) == (3000, 0)
    assert found.batches > 1
    assert found.details["by_business_id"] == [f"{business}: 3,000"]


def test_stops_at_max_rows_and_the_next_run_goes_on(bon: Bon, business: uuid.UUID) -> None:
    for _ in range(5):
        bon.add_draft(business)

    first = bon.run(JOB, max_rows=2)
    bon.run(JOB)

    assert (first.status, outcome(first, "invoices").deleted) == ("success", 2)
    assert invoices(bon) == set()


def test_a_second_run_finds_nothing(bon: Bon, business: uuid.UUID) -> None:
    bon.add_draft(business)
    bon.run(JOB)

    again = bon.run(JOB)

    assert outcome(again, "invoices").counts() == dict.fromkeys(outcome(again, "invoices").counts(), 0)


def test_what_was_deleted_can_be_brought_back_where_the_settings_say_so(bon: Bon, business: uuid.UUID) -> None:
    draft = bon.add_draft(business)
    bon.add_item(draft)
    bon.add_payment(draft)
    bon.insert("emergency_allocation_numbers", business_id=business, number="1", used_for_invoice_id=draft)
    before = bon.rows("SELECT row_to_json(i)::text FROM invoices i")

    result = bon.run(JOB, undo_days=30, archive_personal_data_because="a test", run_id="undone")
    with Database(open_engine(bon.url, variable="URL", application_name="restore:1")) as database:
        restored = restore(
            database,
            bon.location,
            load_specs(bon.location),
            Request(run_id="undone"),
            restore_id="1",
            now=bon.as_of,
            report=bon.reporter.progress,
        )

    assert result.status == "success"
    assert restored.status == "success"
    assert bon.rows("SELECT row_to_json(i)::text FROM invoices i") == before
    assert [bon.count(table) for table in ("invoice_items", "invoice_payments")] == [1, 1]
    assert bon.count("emergency_allocation_numbers", f"used_for_invoice_id = '{draft}'") == 1
