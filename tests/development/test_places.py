"""A code location is one line in the registry: what else names it is written from there, or named where it is missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cath_dagster import registry
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.run.spec import SpecificationError
from cath_dagster.development import documentation, places
from cath_dagster.development.documentation import render_all
from cath_dagster.development.local import REPOSITORY
from cath_dagster.development.samples import samples
from tests.support.command import call
from tests.support.registered import INIT, registered

NEW = "another_service"
JOB = """
from another_service import ANOTHER_SERVICE
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.run.spec import JobSpec

SPEC = JobSpec(
    location=ANOTHER_SERVICE, name="tidy", schedule=Cron("0 1 * * *"), owner="team:test", summary="Tidies.",
    description="Tidies.", settings=JobSettings, run=lambda run, settings: None,
)
"""


@pytest.fixture
def another(tmp_path: Path) -> Iterator[CodeLocation]:
    """Add a location with one job to the registry, and nothing else."""
    with registered(tmp_path, NEW, {"tidy": JOB}) as location:
        yield location


def test_every_place_agrees_with_the_registry() -> None:
    assert places.find_gaps() == []


def test_every_place_that_a_new_location_needs_is_named(another: CodeLocation) -> None:
    assert places.find_gaps() == [
        "cath_dagster lacks another_service/definitions.py",
        "cath_dagster lacks another_service/tables.py",
        "cath_dagster/development/samples lacks another_service/sample.py",
        "pyproject.toml lacks the package of another_service beside the others in the layers contract",
        "README.md lacks the table <!-- jobs: another_service -->",
        "tests/test_every_job.py lacks test_every_job_of_another_service",
        "helm-values/base.yaml lacks the deployment another_service",
        "helm-values/cluster/dev lacks the ConfigMap cath-dagster-another_service",
        "helm-values/cluster/production lacks the ConfigMap cath-dagster-another_service",
        "helm-values/cluster/staging lacks the ConfigMap cath-dagster-another_service",
    ]


def test_the_check_fails_for_them_and_prints_them(
    another: CodeLocation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["documentation", "--check"])

    assert documentation.main() == 1

    assert "README.md lacks the table <!-- jobs: another_service -->" in capsys.readouterr().out


def test_every_list_that_names_locations_only_is_written_anew(another: CodeLocation) -> None:
    stale = {str(path.relative_to(REPOSITORY)) for path, text in render_all().items() if path.read_text() != text}

    assert stale == {
        "docs/jobs.txt",
        "helm-values/cluster/schedules-running.yaml",
        "helm-values/cluster/schedules-standby.yaml",
        "workspace.yaml",
    }


def test_people_see_its_jobs(another: CodeLocation) -> None:
    assert "another_service/tidy" in call({}, "jobs").stdout


def test_the_sample_that_is_missing_is_named(another: CodeLocation) -> None:
    with pytest.raises(MaintenanceError, match="another_service has no sample"):
        samples()


def test_a_package_that_the_registry_does_not_name_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PACKAGES", tuple(name for name in registry.PACKAGES if not name.endswith(".bon")))

    gaps = places.find_gaps()

    assert "cath_dagster has bon/definitions.py, and cath_dagster/registry.py names no such location" in gaps
    assert len(gaps) == 9


@pytest.mark.parametrize("text", ["", "ANOTHER_SERVICE = 1", INIT.format(constant=NEW.upper(), name="other")])
def test_a_package_that_does_not_say_which_location_it_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    name = f"p{abs(hash(text))}"
    (tmp_path / name / "another_service").mkdir(parents=True)
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "another_service" / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "PACKAGES", (f"{name}.another_service",))

    with pytest.raises(SpecificationError, match="needs ANOTHER_SERVICE = CodeLocation"):
        registry.locations()
