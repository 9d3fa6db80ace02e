"""The load of a location's jobs: a file that does not say what a job must say is noticed."""

import re
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cath_dagster.cath import CATH
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.run.spec import SpecificationError, load_specs
from cath_dagster.operations import OPERATIONS
from tests.support.inventory import inventory

JOB = """
import pydantic
from datetime import timedelta
from cath_dagster.core.model.schedule import Cron, Every, Retry
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.run.job_parts import DatabaseWork, MailWork
from cath_dagster.core.run.spec import JobSpec
from {package} import CATH

SPEC = JobSpec(
    location=CATH, name="{name}", schedule=Cron("{cron}"), owner="team:test", summary="Tidies.", description="Tidies.",
    settings=JobSettings, run=lambda run, settings: None, {parts}
)
"""
CRON = 'Cron("0 1 * * *")'
HASTY = 'pydantic.create_model("Hasty", __base__=JobSettings, timeout_seconds=(int, pydantic.Field(description="For a call.")))'
HEAD = """
from cath_dagster.core.model.location import CodeLocation
CATH = CodeLocation(name="shop", package="{package}", revision="shop_0001")
"""

AddFile = Callable[[str, str], None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a location's package without jobs, under a name of its own, and return the name."""
    name = f"shop_{tmp_path.name.replace('-', '_')}_{abs(hash(str(tmp_path)))}"
    (tmp_path / name / "jobs").mkdir(parents=True)
    (tmp_path / name / "__init__.py").write_text(textwrap.dedent(HEAD).format(package=name))
    (tmp_path / name / "jobs" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.fixture
def location(package: str) -> CodeLocation:
    return CodeLocation(name="shop", package=package, revision="shop_0001")


@pytest.fixture
def add_file(package: str, tmp_path: Path) -> AddFile:
    def add(name: str, text: str) -> None:
        (tmp_path / package / "jobs" / f"{name}.py").write_text(text)

    return add


def job(
    package: str, name: str, cron: str = "0 1 * * *", parts: str = 'database=DatabaseWork(targets=("entry",)),'
) -> str:
    return JOB.format(package=package, name=name, cron=cron, parts=parts)


def test_loads_every_file_sorted_by_name(package: str, location: CodeLocation, add_file: AddFile) -> None:
    for name in ("tidy", "count", "sweep"):
        add_file(name, job(package, name))

    specs = load_specs(location)

    assert [spec.name for spec in specs] == ["count", "sweep", "tidy"]
    assert (specs[0].key, specs[0].schedule_name) == ("shop/count", "count_cron")


def test_loads_a_location_without_jobs(location: CodeLocation) -> None:
    assert load_specs(location) == ()


def test_refuses_a_file_without_a_spec(package: str, location: CodeLocation, add_file: AddFile) -> None:
    add_file("tidy", job(package, "tidy"))
    add_file("forgotten", "X = 1\n")

    with pytest.raises(SpecificationError, match="forgotten"):
        load_specs(location)


def test_refuses_a_job_named_unlike_its_file(package: str, location: CodeLocation, add_file: AddFile) -> None:
    add_file("sweep", job(package, "tidy"))

    with pytest.raises(SpecificationError, match="tidy"):
        load_specs(location)


def test_refuses_a_name_twice(package: str, location: CodeLocation, add_file: AddFile) -> None:
    add_file("tidy", job(package, "tidy"))
    add_file("sweep", job(package, "tidy"))

    with pytest.raises(SpecificationError, match="tidy"):
        load_specs(location)


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "daily",
        "0 1 * *",
        "0 1 * * * *",
        "61 1 * * *",
        "0 25 * * *",
        "0 1 * * 9",
        "a b c d e",
        "0 1 LW * *",
        "0 1 * * 5L",
    ],
)
def test_refuses_a_bad_cron(package: str, location: CodeLocation, add_file: AddFile, cron: str) -> None:
    add_file("tidy", job(package, "tidy", cron))

    with pytest.raises(SpecificationError, match="tidy"):
        load_specs(location)


@pytest.mark.parametrize(
    ("said", "instead", "wrong"),
    [
        ('summary="Tidies."', 'summary=" "', "has a blank summary"),
        ('description="Tidies."', 'description=""', "has a blank description"),
        ('name="tidy"', 'name=" "', "specifies a job with a blank name"),
        (CRON, "Every(timedelta(seconds=4))", "runs every 4 s, and the daemon looks every 5 s"),
        (CRON, "Every(timedelta(seconds=7.5))", "runs every 7.5 s; make the interval whole seconds"),
        (CRON, f"{CRON}, timeout=timedelta(0)", "has the timeout 0:00:00; make it 0:00:01 to 1 day"),
        (CRON, f"{CRON}, timeout=timedelta(hours=25)", "has the timeout 1 day, 1:00:00"),
        (CRON, f"{CRON}, retry=Retry(attempts=0)", "is repeated 0 times; make retry.attempts 1 to 10"),
        (CRON, f"{CRON}, retry=Retry(attempts=11)", "is repeated 11 times"),
        (CRON, f"{CRON}, retry=Retry(attempts=1, delay=timedelta(hours=2))", "has the retry.delay 2:00:00"),
        (CRON, f"{CRON}, retry=Retry(attempts=1, backoff=0.5)", "has the retry.backoff 0.5"),
        (CRON, f"{CRON}, retry=Retry(attempts=1, jitter=2)", "has the retry.jitter 2"),
        (CRON, f"{CRON}, after_within=timedelta(0)", "waits for those before it within 0:00:00"),
        ("settings=JobSettings", f"settings={HASTY}", "has a setting timeout_seconds of its own"),
        ("database=DatabaseWork(", "database=DatabaseWork(is_due=lambda run, settings: (), ", "runs at no interval"),
    ],
)
def test_says_what_is_wrong_with_a_registration(
    package: str, location: CodeLocation, add_file: AddFile, said: str, instead: str, wrong: str
) -> None:
    add_file("tidy", job(package, "tidy").replace(said, instead))

    with pytest.raises(SpecificationError, match=f"tidy.*{re.escape(wrong)}"):
        load_specs(location)


def test_refuses_a_zone_that_is_none(
    package: str, location: CodeLocation, add_file: AddFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_file("tidy", job(package, "tidy"))
    monkeypatch.setenv("SCHEDULER_TIMEZONE", "Europe/Nowhere")

    with pytest.raises(SpecificationError, match="shop/tidy has the zone 'Europe/Nowhere'"):
        load_specs(location)


def test_takes_a_location_s_own_zone_before_the_deployment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULER_TIMEZONE", "Europe/Paris")

    assert (CATH.timezone, OPERATIONS.timezone) == ("UTC", "Europe/Paris")


def test_refuses_an_earlier_name_that_is_taken(package: str, location: CodeLocation, add_file: AddFile) -> None:
    add_file("tidy", job(package, "tidy", parts='formerly=("sweep",),'))
    add_file("sweep", job(package, "sweep"))

    with pytest.raises(SpecificationError, match="shop/tidy was formerly 'sweep'"):
        load_specs(location)


def test_a_job_may_have_no_schedule(package: str, location: CodeLocation, add_file: AddFile) -> None:
    add_file("tidy", job(package, "tidy").replace(f"schedule={CRON}, ", ""))

    (spec,) = load_specs(location)

    assert (spec.cron, spec.schedule_text, spec.next_tick(datetime.now(UTC))) == (None, "no schedule", None)


def test_a_job_may_work_on_no_database(package: str, location: CodeLocation, add_file: AddFile) -> None:
    add_file("tidy", job(package, "tidy", parts=""))

    (spec,) = load_specs(location)

    assert (spec.database, spec.targets, dict(spec.privileges), spec.variables) == (None, (), {}, ())


def test_refuses_mail_whose_notices_are_kept_nowhere(package: str, location: CodeLocation, add_file: AddFile) -> None:
    add_file("tidy", job(package, "tidy", parts='mail=MailWork(without_provider="none", forgets=lambda run, _: None),'))

    with pytest.raises(SpecificationError, match="keeps its notices nowhere"):
        load_specs(location)


def test_does_not_skip_a_file_that_fails(location: CodeLocation, add_file: AddFile) -> None:
    add_file("broken", "raise ZeroDivisionError\n")

    with pytest.raises(ZeroDivisionError):
        load_specs(location)


def test_is_a_failure_that_people_are_shown() -> None:
    assert issubclass(SpecificationError, MaintenanceError)


@pytest.mark.parametrize(("name", "cron"), inventory("cath").items())
def test_has_the_service_s_job(name: str, cron: str) -> None:
    (spec,) = [spec for spec in load_specs(CATH) if spec.name == name]

    assert spec.cron == cron
    assert spec.key == f"cath/{name}"


def test_has_no_other_job_of_the_service() -> None:
    assert {spec.name for spec in load_specs(CATH)} == set(inventory("cath"))


def test_describes_every_setting_to_operators() -> None:
    fields = {
        f"{spec.name}.{name}": field for spec in load_specs(CATH) for name, field in spec.settings.model_fields.items()
    }

    assert [name for name, field in fields.items() if not field.description] == []


def test_keeps_the_cath_package_in_utc() -> None:
    assert CATH.timezone == "UTC"
    assert CATH.prefix == "CATH"
    assert "cath_dagster.cath" in sys.modules
