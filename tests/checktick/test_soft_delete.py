"""Soft deletion: which surveys, by which date, and what stands in the way."""

from datetime import timedelta

import pytest

from cath_dagster.core.model.outcome import Status
from tests.checktick.checktick import PLACE_HOLD, CheckTick
from tests.support.maintained import outcome

REFUSE_ONE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not this one'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON surveys_survey FOR EACH ROW WHEN (OLD.id = {}) EXECUTE FUNCTION refuse();
"""


def soft_deleted(checktick: CheckTick) -> list[int]:
    return [row[0] for row in checktick.rows("SELECT id FROM surveys_survey WHERE deleted_at IS NOT NULL ORDER BY id")]


def test_deletes_a_closed_survey_whose_date_is_the_reference_time(checktick: CheckTick) -> None:
    survey_id = checktick.add_survey(deletion_date=checktick.as_of)

    result = checktick.govern()

    assert result.status is Status.SUCCESS
    assert soft_deleted(checktick) == [survey_id]
    assert outcome(result, "surveys_survey").updated == 1


def test_keeps_a_survey_whose_date_is_a_moment_later(checktick: CheckTick) -> None:
    checktick.add_survey(deletion_date=checktick.ahead(microseconds=1))

    checktick.govern()

    assert soft_deleted(checktick) == []


def test_writes_the_two_dates_and_nothing_else(checktick: CheckTick) -> None:
    survey_id = checktick.add_due()
    others = "to_jsonb(surveys_survey) - 'deleted_at' - 'hard_deletion_date'"
    before = checktick.survey(survey_id, others)

    checktick.govern()

    assert checktick.survey(survey_id, others) == before
    dates = checktick.survey(survey_id, "deleted_at", "hard_deletion_date")
    assert dates == (checktick.as_of, checktick.ahead(days=30))


def test_a_reference_time_that_lies_back_does_not_shorten_the_grace(checktick: CheckTick) -> None:
    survey_id = checktick.add_survey(deletion_date=checktick.ago(days=60))

    checktick.govern(as_of=checktick.ago(days=50), now=checktick.as_of)

    assert checktick.survey(survey_id, "hard_deletion_date") == (checktick.ahead(days=30),)


def test_a_run_that_waited_in_the_queue_counts_from_its_tick(checktick: CheckTick) -> None:
    survey_id = checktick.add_due()

    checktick.govern(now=checktick.ahead(hours=3))

    assert checktick.survey(survey_id, "deleted_at") == (checktick.as_of,)


def test_a_second_run_changes_nothing(checktick: CheckTick) -> None:
    survey_id = checktick.add_due()
    checktick.govern()
    before = checktick.survey(survey_id, "xmin")

    again = checktick.govern()

    assert checktick.survey(survey_id, "xmin") == before
    assert outcome(again, "surveys_survey").updated == 0


def test_a_survey_soft_deleted_in_a_run_is_not_hard_deleted_by_it(checktick: CheckTick) -> None:
    survey_id = checktick.add_due(deletion_date=checktick.ago(days=400))

    checktick.govern()

    assert checktick.survey_ids() == [survey_id]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"status": "published"}, "republished"),
        ({"closed_at": None}, "never_closed"),
    ],
)
def test_a_survey_that_no_rule_takes_is_counted_and_named(
    checktick: CheckTick, values: dict[str, object], reason: str
) -> None:
    survey_id = checktick.add_due(**values)

    result = checktick.govern()

    found = outcome(result, "surveys_survey")
    assert result.status is Status.SUCCESS
    assert soft_deleted(checktick) == []
    assert (found.kept, found.details[f"soft_{reason}_ids"]) == (1, [str(survey_id)])


def test_a_survey_published_again_and_suspended_since_stays(checktick: CheckTick) -> None:
    checktick.add_due(status="suspended", published_at=checktick.ago(days=50))

    checktick.govern()

    assert soft_deleted(checktick) == []


def test_a_suspended_survey_that_was_closed_goes(checktick: CheckTick) -> None:
    survey_id = checktick.add_due(status="suspended")

    checktick.govern()

    assert soft_deleted(checktick) == [survey_id]


def test_an_active_hold_stops_it_and_a_removed_one_does_not(checktick: CheckTick) -> None:
    held, released = checktick.add_due(), checktick.add_due()
    checktick.add_hold(held)
    checktick.add_hold(released, removed_at=checktick.ago(days=1))

    result = checktick.govern()

    assert soft_deleted(checktick) == [released]
    assert outcome(result, "surveys_survey").details["soft_held_ids"] == [str(held)]


def test_a_hold_placed_while_the_run_waits_is_seen(checktick: CheckTick) -> None:
    survey_id = checktick.add_due()
    # The service locks the survey's row before it places a hold on it.
    lock = ("SELECT 1 FROM surveys_survey WHERE id = %s FOR UPDATE", [survey_id])
    place = (PLACE_HOLD, [survey_id])

    result = checktick.run_beside("data_governance", lock, then=[place])

    assert result.status is Status.SUCCESS
    assert soft_deleted(checktick) == []


def test_a_hold_placed_anew_while_the_run_waits_is_seen(checktick: CheckTick) -> None:
    survey_id = checktick.add_due()
    checktick.add_hold(survey_id, removed_at=checktick.ago(days=1))
    again = ("UPDATE surveys_legalhold SET removed_at = NULL WHERE survey_id = %s", [survey_id])

    checktick.run_beside("data_governance", again)

    assert soft_deleted(checktick) == []


def test_a_retention_period_extended_while_the_run_waits_is_heeded(checktick: CheckTick) -> None:
    survey_id = checktick.add_due()
    extend = ("UPDATE surveys_survey SET deletion_date = %s WHERE id = %s", [checktick.ahead(days=90), survey_id])

    checktick.run_beside("data_governance", extend)

    assert soft_deleted(checktick) == []


def test_one_that_fails_is_named_and_the_others_are_done(checktick: CheckTick) -> None:
    surveys = [checktick.add_due() for _ in range(4)]
    checktick.connection.execute(REFUSE_ONE.format(surveys[1]))

    result = checktick.govern()

    assert result.status is Status.FAILED
    assert f"1 surveys could not be soft-deleted ({surveys[1]}: " in (result.error or "")
    assert soft_deleted(checktick) == [surveys[0], *surveys[2:]]
    found = outcome(result, "surveys_survey")
    assert (found.failed, found.details["not_soft_deleted_ids"]) == (1, [str(surveys[1])])


def test_a_failed_soft_deletion_does_not_hide_the_hard_ones(checktick: CheckTick) -> None:
    due, doomed = checktick.add_due(), checktick.add_doomed()
    checktick.connection.execute(REFUSE_ONE.format(due))

    result = checktick.govern()

    assert result.status is Status.FAILED
    assert checktick.survey_ids() == [due]
    assert doomed not in checktick.survey_ids()


def test_many_are_done_in_groups_of_fifty(checktick: CheckTick) -> None:
    for _ in range(120):
        checktick.add_due()

    result = checktick.govern()

    assert len(soft_deleted(checktick)) == 120
    query = "SELECT updated FROM maintenance.ledger_event WHERE kind = 'batch' ORDER BY event_id"
    assert checktick.rows(query) == [(50,), (50,), (20,)]
    assert outcome(result, "surveys_survey").batches == 3


def test_max_rows_counts_soft_and_hard_deletions_together(checktick: CheckTick) -> None:
    for _ in range(3):
        checktick.add_due()
        checktick.add_doomed()

    result = checktick.govern(max_rows=4)

    assert result.status is Status.SUCCESS
    assert len(soft_deleted(checktick)) == 3 + 2
    assert len(checktick.survey_ids()) == 5
    assert "max_rows reached: 2 surveys are left for the next run" in result.notes


def test_a_dry_run_counts_and_changes_nothing(checktick: CheckTick) -> None:
    checktick.add_due()
    checktick.add_hold(checktick.add_due())

    result = checktick.govern(dry_run=True)

    found = outcome(result, "surveys_survey")
    assert (found.matched, found.details["would_soft_delete"], found.details["soft_held"]) == (1, 1, 1)
    assert soft_deleted(checktick) == []


def test_what_does_not_stop_a_deletion_is_counted(checktick: CheckTick) -> None:
    checktick.add_request(checktick.add_due())

    found = outcome(checktick.govern(), "surveys_survey")

    assert (found.updated, found.details["soft_unwarned"], found.details["soft_with_open_request"]) == (1, 1, 1)


def test_who_was_warned_of_this_date_is_not_counted_as_unwarned(checktick: CheckTick) -> None:
    checktick.add_survey(deletion_date=checktick.ahead(days=1))
    checktick.govern()

    found = outcome(checktick.govern(as_of=checktick.as_of + timedelta(days=1)), "surveys_survey")

    assert (found.updated, found.details["soft_unwarned"]) == (1, 0)


def test_the_ledger_tells_the_steps_of_one_run_apart(checktick: CheckTick) -> None:
    checktick.add_due()
    checktick.add_doomed()

    checktick.govern(run_id="the-run")

    query = (
        "SELECT step, matched, deleted, updated, outcome FROM maintenance.purge_ledger"
        " WHERE run_id = 'the-run' AND table_name = 'surveys_survey' ORDER BY step"
    )
    assert checktick.rows(query) == [("hard_delete", 1, 1, 0, "success"), ("soft_delete", 1, 0, 1, "success")]
