"""A job's own settings as options of `run` and `plan`."""

import json

import pytest

from cath_dagster.cli.own_options import read_own_options
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.registry import find_spec
from tests.support.cli import run
from tests.support.service import Service


def test_a_setting_is_an_option_with_its_value_or_said_alone() -> None:
    given = ["--force", "--environment-ids", "a,b"]

    assert read_own_options(find_spec("preview_archival"), given) == {"force": True, "environment_ids": "a,b"}
    assert read_own_options(find_spec("clear_audit"), ["--audit-log-retention-days=30"]) == {
        "audit_log_retention_days": "30"
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--audit-log-retention-day", "30"], "did you mean --audit-log-retention-days"),
        (["--audit-log-retention-days"], "needs a value"),
        (["stray"], "has no option stray"),
        (["--qqqq"], "of its own it has"),
    ],
)
def test_what_the_job_does_not_have_is_wrong_usage(arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        read_own_options(find_spec("clear_audit"), arguments)


def test_the_run_goes_by_it(service: Service) -> None:
    wrong = run(service, "clear_audit", "--audit-log-retention-days", "many")
    unknown = run(service, "clear_audit", "--retention", "--json")

    assert (wrong.returncode, unknown.returncode) == (2, 2)
    assert "audit_log_retention_days is 'many'" in wrong.stderr
    assert "clear_audit has no option --retention" in json.loads(unknown.stdout)["error"]
