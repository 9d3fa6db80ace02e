"""The load of a location's jobs: a file that does not say what a job must say is noticed."""

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
from tests.support.inventory import inventory

JOB = """
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.run.job_parts import DatabaseWork, MailWork
from cath_dagster.core.run.spec import JobSpec
from {package} import CATH

SPEC = JobSpec(
    location=CATH, name="{name}", schedule=Cron("{cron}"), owner="team:test", summary="Tidies.", description="Tidies.",
    settings=JobSettings, run=lambda run, settings: None, {parts}
)
"""
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


def test_a_job_may_have_no_schedule(package: str, location: CodeLocation, add_file: AddFile) -> None:
    add_file("tidy", job(package, "tidy").replace('schedule=Cron("0 1 * * *"), ', ""))

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
