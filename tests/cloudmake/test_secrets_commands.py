"""`cath-dagster secrets put`, `list`, `delete` and `validate`: no value is shown, none is an argument."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.secrets import Secrets
from tests.support.command import Done, call


@pytest.fixture
def secrets(cloudmake: CloudMake) -> Iterator[Secrets]:
    with Secrets.open(cloudmake) as opened:
        yield opened


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def secret(secrets: Secrets, *arguments: str, given: bytes | None = None) -> Done:
    """Call a command with something on standard input, by default with a terminal there; no command shows a value."""
    stream = Terminal(io.BytesIO(b"planted typed\n")) if given is None else io.TextIOWrapper(io.BytesIO(given))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", stream)
        done = call(secrets.cloudmake.environ, "secrets", *arguments)
    assert "planted" not in done.stdout + done.stderr
    return done


def told(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_value_is_stored_listed_synchronised_and_deleted(secrets: Secrets) -> None:
    shop = secrets.add_project("shop", "production")
    secrets.map(shop, "API_KEY")
    secrets.map(shop, "URL_PROD")

    first = told(secret(secrets, "put", "shop", "API_KEY", "--json", given=b"planted one\n"))
    again = told(secret(secrets, "put", str(shop), "API_KEY", "--json", given=b"planted two\r\n"))
    there = told(secret(secrets, "put", "shop", "URL", "--environment", "prod", "--json", given=b"planted\nlines\n"))
    stray = secret(secrets, "put", "shop", "STRAY", given=b"planted stray")

    assert (first["version"], again["version"]) == (1, 2)
    assert there | {"project_id": ""} == {
        "project": "shop",
        "project_id": "",
        "name": "URL",
        "environment": "production",
        "version": 1,
        "is_mapped": True,
    }
    assert "no mapping names it" in stray.stdout
    listed = told(secret(secrets, "list", "shop", "--json"))
    assert [(each["name"], each["environment"], each["version"], each["is_mapped"]) for each in listed] == [
        ("API_KEY", None, 2, True),
        ("STRAY", None, 1, False),
        ("URL", "production", 1, True),
    ]
    assert "API_KEY  everywhere  version 2" in secret(secrets, "list", "shop").stdout
    assert secrets.synced() == {"synced": 3}
    assert secrets.values("shop", "environment:production") == {"URL": "planted\nlines"}
    assert secrets.values("shop")["API_KEY"] == "planted two"

    assert told(secret(secrets, "delete", "shop", "STRAY", "--json"))["is_deleted"] is True
    assert "a mapping names it still" in secret(secrets, "delete", "shop", "API_KEY").stdout
    gone = secret(secrets, "delete", "shop", "API_KEY")
    assert (gone.returncode, "there is no API_KEY of shop" in gone.stdout) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "given", "says"),
    [
        (("shop", "API_KEY"), None, "standard input is a terminal"),
        (("shop", "API_KEY", "planted-argument"), b"planted", "a value is no argument"),
        (("shop", "API_KEY", "--value=planted-option"), b"planted", "No such option"),
        (("shop", "API_KEY"), b"", "its value is empty"),
        (("shop", "API_KEY"), b"\n", "its value is empty"),
        (("shop", "API_KEY"), b"\xff\xfe", "no text in UTF-8"),
        (("shop", "API_KEY"), b"planted\0", "no text in UTF-8"),
        (("shop", "API_KEY"), b"x" * 49_153, "GitHub takes 49,152"),
        (("shop", "api_key"), b"planted", "is no name of a secret"),
        (("shop", "GITHUB_KEY"), b"planted", "is no name of a secret"),
        (("shop", "API_KEY", "--environment", "test"), b"planted", "is no environment"),
        (("elsewhere", "API_KEY"), b"planted", "no active project is called elsewhere"),
        (("", "API_KEY"), b"planted", "names 1 projects"),
    ],
)
def test_what_is_no_value_or_belongs_nowhere_is_refused(
    secrets: Secrets, arguments: tuple[str, ...], given: bytes | None, says: str
) -> None:
    secrets.add_project("shop")

    done = secret(secrets, "put", *arguments, given=given)

    assert (done.returncode, says in " ".join(done.stderr.split())) == (2, True)
    assert secrets.cloudmake.count("maintenance.stored_secret") == 0


def test_what_a_project_that_is_gone_has_stored_is_seen_and_deleted_by_its_id(secrets: Secrets) -> None:
    shop = secrets.add_project("shop")
    secrets.put(shop, "API_KEY", "planted")
    secrets.cloudmake.connection.execute("DELETE FROM projects")

    assert secret(secrets, "list", "shop").returncode == 2
    assert [each["name"] for each in told(secret(secrets, "list", str(shop), "--json"))] == ["API_KEY"]
    assert secret(secrets, "put", str(shop), "API_KEY", given=b"planted").returncode == 2
    assert told(secret(secrets, "delete", str(shop), "API_KEY", "--json"))["is_deleted"] is True


def test_a_value_of_the_longest_length_is_stored(secrets: Secrets) -> None:
    secrets.add_project("shop")

    assert told(secret(secrets, "put", "shop", "API_KEY", "--json", given=b"x" * 49_152 + b"\r\n"))["version"] == 1


def test_what_is_where_and_what_would_come_of_it_is_shown_and_nothing_written(secrets: Secrets) -> None:
    shop = secrets.add_project("shop", "production")
    secrets.add(shop, "DONE", "planted", "actions", "codespaces")
    secrets.synced()
    secrets.add(shop, "DUE_PROD", "planted")
    secrets.add(shop, "CI", "planted")
    written, states = secrets.writes(), secrets.states()

    done = secret(secrets, "validate", "--json")

    found = json.loads(done.stdout)
    assert [(line["secret"], line["target"], line["says"]) for line in found["secrets"]] == [
        ("CI", "", "excluded"),
        ("DONE", "actions", "as it should be"),
        ("DONE", "codespaces", "as it should be"),
        ("DUE_PROD", "actions", "to be written"),
        ("DUE_PROD", "environment:production", "to be written"),
    ]
    # DUE_PROD was mapped nine days ago, and no run has brought it.
    assert (done.returncode, found["is_valid"], found["sc_005"]["passed"]) == (1, False, False)
    assert (secrets.writes(), secrets.states()) == (written, states)
    assert secrets.synced() == {"synced": 2, "skipped": 2, "excluded": 1}
    assert secret(secrets, "validate").returncode == 0


def test_what_github_does_not_let_us_look_at_is_not_taken_for_good(secrets: Secrets) -> None:
    secrets.add(secrets.add_project("shop"), "API_KEY", "planted")
    secrets.synced()
    secrets.github.limit_next(403, retry_after=999)

    done = secret(secrets, "validate")

    assert (done.returncode, "API_KEY actions: not looked at (GitHub asks to slow down" in done.stdout) == (1, True)


def test_what_is_wrong_is_named_with_exit_code_1(secrets: Secrets) -> None:
    shop, other = secrets.add_project("shop"), secrets.add_project("other", integrations=None)
    secrets.add(shop, "BY_HAND", "planted")
    secrets.map(shop, "NO_VALUE")
    secrets.add(other, "API_KEY", "planted")
    secrets.github.plant("acme/shop", "actions", "BY_HAND", b"planted by hand")

    done = secret(secrets, "validate", "other,shop")

    assert done.returncode == 1
    assert "shop BY_HAND actions: conflict" in done.stdout
    assert "shop NO_VALUE actions: missing (the source has no value for it)" in done.stdout
    assert "other: cannot be told (has no GitHub repository" in done.stdout
