"""What `explain` foretells of a survey, and of the rows that go along with it, is what the runs then do."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.checktick.jobs.data_governance import SPEC
from cath_dagster.core.inspection.explain import Explanation, explain
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.spec import load_specs
from tests.checktick.checktick import CheckTick


def foretold(checktick: CheckTick, table: str, key: object) -> Explanation:
    backends = EnvironmentBackends(checktick.location.prefix, checktick.environ)
    engine = backends.engine("test")
    try:
        with Database(engine) as database:
            return explain(
                database,
                load_specs(checktick.location),
                table,
                str(key),
                now=checktick.as_of,
                environ=checktick.environ,
            )
    finally:
        engine.dispose()


def phases(explanation: Explanation) -> list[tuple[str, datetime | None]]:
    return [(each.effect, each.at) for each in explanation.forecasts if each.job == SPEC.name]


@pytest.fixture
def day(checktick: CheckTick) -> datetime:
    """Return an instant between two ticks."""
    checktick.as_of = datetime(2026, 11, 18, 9, 0, tzinfo=UTC)
    return checktick.as_of


@pytest.mark.parametrize(
    ("days", "soft", "gone"),
    [
        pytest.param(
            5, datetime(2026, 11, 24, 2, tzinfo=UTC), datetime(2026, 12, 24, 2, tzinfo=UTC), id="in five days"
        ),
        pytest.param(-1, datetime(2026, 11, 19, 2, tzinfo=UTC), datetime(2026, 12, 19, 2, tzinfo=UTC), id="yesterday"),
    ],
)
def test_both_deletions_of_a_closed_survey_are_foretold(
    checktick: CheckTick, day: datetime, days: int, soft: datetime, gone: datetime
) -> None:
    survey_id = checktick.add_survey(deletion_date=day + timedelta(days=days))

    found = foretold(checktick, "surveys_survey", survey_id)

    assert phases(found) == [("soft-deleted", soft), ("gone", gone)]
    assert (
        f"soft-deleted on {soft:%Y-%m-%d %H:%M} UTC by data_governance, gone on {gone:%Y-%m-%d %H:%M} UTC" in found.says
    )


def test_rows_that_go_along_are_foretold_with_both_dates(checktick: CheckTick, day: datetime) -> None:
    survey_id = checktick.add_survey(deletion_date=day + timedelta(days=5))
    response = checktick.add_response(survey_id)
    log = checktick.add_freeze_log(response)
    expected = phases(foretold(checktick, "surveys_survey", survey_id))

    for table, key in (("surveys_surveyresponse", response), ("surveys_responsefreezelog", log)):
        found = foretold(checktick, table, key)
        assert phases(found) == expected
        assert all(each.rule.startswith("along with surveys_survey") for each in found.forecasts)


def test_the_runs_of_the_dates_foretold_do_it_and_those_before_do_not(checktick: CheckTick, day: datetime) -> None:
    survey_id = checktick.add_survey(deletion_date=day + timedelta(days=5))
    (_, soft), (_, gone) = phases(foretold(checktick, "surveys_survey", survey_id))
    assert soft is not None
    assert gone is not None

    checktick.govern(as_of=soft - timedelta(days=1))
    assert checktick.survey(survey_id, "deleted_at") == (None,)
    checktick.govern(as_of=soft)
    assert checktick.survey(survey_id, "deleted_at") == (soft,)
    checktick.govern(as_of=gone - timedelta(days=1))
    assert checktick.survey_ids() == [survey_id]
    checktick.govern(as_of=gone)
    assert checktick.survey_ids() == []


def test_the_grace_is_the_one_that_is_set(checktick: CheckTick, day: datetime) -> None:
    checktick.environ["CHECKTICK_DATA_GOVERNANCE_GRACE_DAYS"] = "10"
    survey_id = checktick.add_survey(deletion_date=day + timedelta(days=5))

    (_, soft), (_, gone) = phases(foretold(checktick, "surveys_survey", survey_id))

    assert soft is not None
    assert gone == soft + timedelta(days=10)


def test_a_survey_that_is_soft_deleted_has_the_second_before_it_alone(checktick: CheckTick, day: datetime) -> None:
    survey_id = checktick.add_doomed(deleted_at=day, hard_deletion_date=day + timedelta(days=30))

    assert phases(foretold(checktick, "surveys_survey", survey_id)) == [("gone", datetime(2026, 12, 19, 2, tzinfo=UTC))]


@pytest.mark.parametrize(
    ("values", "unmet"),
    [
        ({"closed_at": None}, "it is closed (closed_at)"),
        ({"status": "published"}, "it was not published again"),
        ({"deletion_date": None}, "its date of deletion"),
    ],
)
def test_what_keeps_a_survey_is_said_of_the_first_deletion(
    checktick: CheckTick, day: datetime, values: dict[str, Any], unmet: str
) -> None:
    survey_id = checktick.add_survey(**{"deletion_date": day, **values})

    found = foretold(checktick, "surveys_survey", survey_id)

    assert {at for _, at in phases(found)} == {None}
    assert "no rule takes it" in found.says
    (first,) = [each for each in found.forecasts if each.effect == "soft-deleted"]
    assert any(words.startswith(unmet) for words in first.unmet)


def test_a_hold_keeps_a_survey_from_both(checktick: CheckTick, day: datetime) -> None:
    survey_id = checktick.add_survey(deletion_date=day)
    checktick.add_hold(survey_id)

    found = foretold(checktick, "surveys_survey", survey_id)

    assert {at for _, at in phases(found)} == {None}
    assert all("no legal hold is on it" in each.unmet for each in found.forecasts)


def test_progress_goes_by_whichever_rule_comes_first(checktick: CheckTick, day: datetime) -> None:
    survey_id = checktick.add_survey(deletion_date=day + timedelta(days=5))
    progress = checktick.add_progress(survey_id, expires_at=day + timedelta(days=10))

    found = foretold(checktick, "surveys_surveyprogress", progress)

    assert [(each.job, each.effect) for each in found.forecasts] == [
        ("data_governance", "soft-deleted"),
        ("progress_cleanup", "gone"),
        ("data_governance", "gone"),
    ]
    assert found.says.endswith("gone on 2026-11-29 03:00 UTC by progress_cleanup")


def test_the_command_tells_it_in_a_sentence_and_in_json(checktick: CheckTick) -> None:
    survey_id = checktick.add_survey(deletion_date=datetime.now(UTC) + timedelta(days=5))

    said = checktick.cli("explain", "surveys_survey", str(survey_id)).stdout
    found = json.loads(checktick.cli("explain", "surveys_survey", str(survey_id), "--json").stdout)

    assert "as things stand, soft-deleted on " in said
    assert ", gone on " in said
    assert [each["effect"] for each in found["forecasts"]] == ["soft-deleted", "gone"]
