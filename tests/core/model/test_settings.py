"""What a run is told: run config, else the environment, else the default."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, ClassVar

import pytest
from pydantic import Field

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.settings import Days, JobSettings, RunConfig, plain_settings, read_run_config, variable

NOW = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)


class TidySettings(JobSettings):
    load_only: ClassVar[frozenset[str]] = frozenset({"first_week"})

    retention_days: Days = Field(default=90, description="Days for which entries are kept.")
    is_enabled: bool = Field(default=True, description="Whether entries are purged.")
    first_week: str = Field(default="2026-01-05", description="The first week.")


def read(given: dict[str, Any] | None = None, environ: dict[str, str] | None = None) -> RunConfig[TidySettings]:
    return read_run_config(TidySettings, given or {}, location="cath", job="tidy", environ=environ or {}, now=NOW)


def refusal(given: dict[str, Any] | None = None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(given, environ)
    return str(refused.value)


def test_names_a_variable_by_location_job_and_key() -> None:
    name = variable("cath", "clear_audit", "audit_log_retention_days")

    assert name == "CATH_CLEAR_AUDIT_AUDIT_LOG_RETENTION_DAYS"


def test_works_by_default_without_limit_as_of_now() -> None:
    config = read()

    assert (config.options.dry_run, config.options.allow_large, config.options.max_rows, config.options.as_of) == (
        False,
        False,
        None,
        NOW,
    )
    assert config.settings.retention_days == 90


def test_takes_a_default_from_the_environment() -> None:
    assert read(environ={"CATH_TIDY_RETENTION_DAYS": "30"}).settings.retention_days == 30


def test_prefers_run_config_to_the_environment() -> None:
    config = read({"retention_days": 7}, {"CATH_TIDY_RETENTION_DAYS": "30"})

    assert config.settings.retention_days == 7


def test_prefers_a_zero_of_run_config_to_the_environment() -> None:
    config = read({"retention_days": 0, "is_enabled": False}, {"CATH_TIDY_RETENTION_DAYS": "30"})

    assert (config.settings.retention_days, config.settings.is_enabled) == (0, False)


def test_takes_an_empty_variable_for_one_that_is_not_set() -> None:
    assert read(environ={"CATH_TIDY_RETENTION_DAYS": ""}).settings.retention_days == 90


def test_ignores_variables_of_other_jobs_and_locations() -> None:
    environ = {"BON_TIDY_RETENTION_DAYS": "1", "CATH_OTHER_RETENTION_DAYS": "2", "RETENTION_DAYS": "3"}

    assert read(environ=environ).settings.retention_days == 90


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "off"])
def test_understands_no_in_the_environment(text: str) -> None:
    assert read(environ={"CATH_TIDY_IS_ENABLED": text}).settings.is_enabled is False


@pytest.mark.parametrize("text", ["ninety", "-1", "1.5", "36501", "99999999999999999999"])
def test_names_the_variable_and_the_value_that_cannot_be_used(text: str) -> None:
    said = refusal(environ={"CATH_TIDY_RETENTION_DAYS": text})

    assert "CATH_TIDY_RETENTION_DAYS" in said
    assert text in said


def test_names_the_variable_of_a_switch_that_is_neither_on_nor_off() -> None:
    assert "CATH_TIDY_IS_ENABLED" in refusal(environ={"CATH_TIDY_IS_ENABLED": "maybe"})


def test_names_every_variable_that_cannot_be_used() -> None:
    said = refusal(environ={"CATH_TIDY_IS_ENABLED": "maybe", "CATH_TIDY_RETENTION_DAYS": "x"})

    assert "CATH_TIDY_IS_ENABLED" in said
    assert "CATH_TIDY_RETENTION_DAYS" in said


def test_names_an_unknown_key_and_those_it_knows() -> None:
    said = refusal({"retention_dais": 7})

    assert "retention_dais" in said
    assert "retention_days" in said


def test_refuses_in_run_config_what_only_the_environment_sets() -> None:
    assert "first_week" in refusal({"first_week": "2026-02-02"})
    assert read(environ={"CATH_TIDY_FIRST_WEEK": "2026-02-02"}).settings.first_week == "2026-02-02"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("retention_days", -1),
        ("max_rows", -1),
        ("retention_days", None),
        ("retention_days", "soon"),
        ("max_rows", 1.5),
        ("dry_run", "perhaps"),
        ("allow_large", 2),
        ("as_of", "yesterday"),
        ("as_of", "5"),
        ("as_of", 5),
        ("as_of", "0001-01-01"),
    ],
)
def test_names_the_key_of_a_value_that_cannot_be_used(key: str, value: object) -> None:
    assert key in refusal({key: value})


def test_takes_a_naive_as_of_to_be_utc() -> None:
    assert read({"as_of": "2026-11-17T23:30:00"}).options.as_of == datetime(2026, 11, 17, 23, 30, tzinfo=UTC)


def test_turns_an_as_of_with_an_offset_into_utc() -> None:
    config = read({"as_of": "2026-11-17T23:30:00+02:00"})

    assert config.options.as_of == datetime(2026, 11, 17, 21, 30, tzinfo=UTC)
    assert config.options.as_of.utcoffset() == timedelta(0)


def test_takes_an_as_of_that_is_now() -> None:
    assert read({"as_of": NOW}).options.as_of == NOW


@pytest.mark.parametrize(
    "as_of",
    [
        NOW + timedelta(microseconds=1),
        NOW.astimezone(timezone(timedelta(hours=2))) + timedelta(seconds=1),
        "2026-11-18T01:00:01",
    ],
    ids=["aware", "another zone", "naive"],
)
def test_refuses_an_as_of_in_the_future(as_of: object) -> None:
    said = refusal({"as_of": as_of})

    assert "as_of" in said
    assert "future" in said


def test_takes_an_as_of_of_another_zone_that_only_looks_later() -> None:
    assert read({"as_of": "2026-11-18T02:30:00+02:00"}).options.as_of == datetime(2026, 11, 18, 0, 30, tzinfo=UTC)


def test_allows_no_rows_at_all() -> None:
    assert read({"max_rows": 0}).options.max_rows == 0


def test_shows_the_values_used() -> None:
    config = read({"retention_days": 7})

    assert plain_settings(config.settings) == {"retention_days": 7, "is_enabled": True, "first_week": "2026-01-05"}
