"""Where values come from: files as they are mounted, and the environment of the run."""

import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cath_dagster.cloudmake.github_secrets.drafts import Draft
from cath_dagster.cloudmake.github_secrets.hashes import Hasher
from cath_dagster.cloudmake.github_secrets.projects import Project, SecretMapping
from cath_dagster.cloudmake.github_secrets.sources import Stored, Variables
from cath_dagster.cloudmake.github_secrets.wanted import Wanted, WantedSecret, read_environment_names, split_suffix
from cath_dagster.cloudmake.sealing import Keyring, MasterKey
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.ports.github import Place, Scope
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.secrets import Secrets, counts


@pytest.fixture
def secrets(cloudmake: CloudMake) -> Iterator[Secrets]:
    with Secrets.open(cloudmake) as opened:
        yield opened


@pytest.fixture
def folder(secrets: Secrets, tmp_path: Path) -> Path:
    secrets.cloudmake.environ["CLOUDMAKE_SECRET_SOURCE"] = tmp_path.as_uri().replace("file:", "files:")
    return tmp_path


def write(path: Path, value: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value)


def test_files_are_read_by_project_and_by_environment(secrets: Secrets, folder: Path) -> None:
    shop = secrets.add_project("shop", "dev", "production")
    for name in ("API_KEY", "URL_DEV"):
        secrets.map(shop, name)
    write(folder / "shop" / "API_KEY", "planted everywhere\n")
    write(folder / "shop" / "production" / "API_KEY", "planted in production\n")
    write(folder / "shop" / "dev" / "URL", "planted dev")

    assert secrets.synced() == {"synced": 4}
    assert secrets.values("shop") == {"API_KEY": "planted everywhere", "URL_DEV": "planted dev"}
    assert secrets.values("shop", "environment:production") == {"API_KEY": "planted in production"}
    assert secrets.values("shop", "environment:dev") == {"URL": "planted dev"}


def test_a_file_that_cannot_be_read_is_not_missing_and_a_folder_that_is_empty_deletes_nothing(
    secrets: Secrets, folder: Path
) -> None:
    shop = secrets.add_project("shop")
    secrets.map(shop, "API_KEY")
    write(folder / "shop" / "API_KEY", "planted")
    secrets.synced()
    (folder / "shop" / "API_KEY").unlink()
    (folder / "shop" / "API_KEY").mkdir()

    assert counts(secrets.sync()) == {"failed": 1}
    (folder / "shop" / "API_KEY").rmdir()
    (folder / "shop").rmdir()
    assert counts(secrets.sync()) == {"missing": 1}
    folder.rmdir()
    assert (secrets.sync().status, secrets.values("shop")) == (Status.FAILED, {"API_KEY": "planted"})


def test_no_slug_leads_out_of_the_folder(secrets: Secrets, folder: Path) -> None:
    secrets.cloudmake.environ["CLOUDMAKE_SECRET_SOURCE"] += "/inner"
    (folder / "inner").mkdir()
    secrets.map(secrets.add_project("..", integrations='{"githubRepo": "acme/shop"}'), "API_KEY")
    write(folder / "API_KEY", "planted")

    result = secrets.sync()

    assert (result.status, secrets.writes()) == (Status.FAILED, [])
    assert "is no slug" in str(result.error)


def test_variables_are_read_by_project(secrets: Secrets, tmp_path: Path) -> None:
    environ = secrets.cloudmake.environ
    environ["CLOUDMAKE_SECRET_SOURCE"] = "env"
    shop = secrets.add_project("my-shop", "dev")
    for name in ("API_KEY", "MOUNTED", "URL_DEV", "GONE"):
        secrets.map(shop, name)
    (tmp_path / "mounted").write_text("planted in a file\n")
    environ["CLOUDMAKE_SECRET__MY_SHOP__API_KEY"] = "planted"
    environ["CLOUDMAKE_SECRET__MY_SHOP__MOUNTED_FILE"] = str(tmp_path / "mounted")
    environ["CLOUDMAKE_SECRET__MY_SHOP__URL_DEV"] = "planted dev"

    result = secrets.sync()

    assert counts(result) == {"synced": 4, "missing": 1}
    assert secrets.values("my-shop") == {"API_KEY": "planted", "MOUNTED": "planted in a file", "URL_DEV": "planted dev"}
    assert secrets.values("my-shop", "environment:dev") == {"URL": "planted dev"}


@pytest.mark.parametrize(
    ("source", "slugs", "says"),
    [
        ("files", ("shop", "shop"), "2 projects have the slug shop"),
        ("env", ("my-shop", "my_shop"), "2 projects have the slug MY_SHOP"),
        ("env", ("my--shop", "other"), "where nobody can tell where it ends"),
    ],
)
def test_nobody_gets_the_secrets_of_a_project_with_the_same_slug(
    secrets: Secrets, folder: Path, source: str, slugs: tuple[str, str], says: str
) -> None:
    if source == "env":
        secrets.cloudmake.environ["CLOUDMAKE_SECRET_SOURCE"] = "env"
    for number, slug in enumerate(slugs):
        project_id = secrets.add_project(slug, integrations=f'{{"githubRepo": "acme/repository-{number}"}}')
        secrets.github.add_repository(f"acme/repository-{number}")
        secrets.map(project_id, "API_KEY")
    write(folder / "shop" / "API_KEY", "planted")
    secrets.cloudmake.environ["CLOUDMAKE_SECRET__MY_SHOP__API_KEY"] = "planted"

    result = secrets.sync()

    assert (result.status, secrets.writes()) == (Status.FAILED, [])
    assert says in str(result.error)


def test_no_value_is_in_any_representation() -> None:
    place = Place(Scope.ACTIONS)
    mapping = SecretMapping(
        uuid.uuid4(), "NAME", "0" * 64, ("actions",), is_excluded=False, status="pending", error=None
    )
    secret = WantedSecret(mapping, (Wanted(place, "NAME", b"planted"),))
    keyring = Keyring(MasterKey("planted " * 5, "VARIABLE"))

    shown = repr([secret, Draft(Project(uuid.uuid4(), "shop"), secrets=(secret,)), Hasher(b"planted"), keyring])
    shown += repr([Stored(keyring), Variables({"X": "planted"}, Counter()), keyring.seal(b"planted", "row")])

    assert "planted" not in shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DATABASE_URL_DEV", ("dev", "DATABASE_URL")),
        ("DATABASE_URL_STAGING", ("staging", "DATABASE_URL")),
        ("DATABASE_URL_PROD", ("production", "DATABASE_URL")),
        ("DATABASE_URL_PRODUCTION", ("production", "DATABASE_URL")),
        ("NEON_BRANCH_PROD", ("production", "NEON_BRANCH_ID")),
        ("DATABASE_URL", (None, "DATABASE_URL")),
        ("DEV", (None, "DEV")),
        ("_DEV", (None, "_DEV")),
        ("URL_DEV_HOST", (None, "URL_DEV_HOST")),
    ],
)
def test_a_suffix_says_which_environment(name: str, expected: tuple[str | None, str]) -> None:
    assert split_suffix(name) == expected


@pytest.mark.parametrize("given", ["prod", "production=", "=prod", "test=test", "production=dev", "dev=x,staging=x"])
def test_names_of_environments_that_cannot_be_told_are_refused(given: str) -> None:
    with pytest.raises(ConfigurationError):
        read_environment_names(given)


def test_environments_are_called_as_they_are_at_github() -> None:
    assert list(read_environment_names(" production=prod , staging=stage").values()) == ["dev", "stage", "prod"]
