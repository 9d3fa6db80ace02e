"""Secrets in mounted files."""

from pathlib import Path

import pytest

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.mounted import MAX_BYTES, MountedEnvironment
from cath_dagster.adapters.notify import NotifyMailer
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.development.simulators.notify import NotifySimulator

SECRET = "Pl4nted-secret"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


def complaint(environ: MountedEnvironment) -> str:
    with pytest.raises(ConfigurationError) as caught:
        environ.get("CATH_DATABASE_URL")
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n"])
def test_a_file_holds_the_value_but_for_its_last_line_break(file: Path, ending: str) -> None:
    file.write_bytes(f" {SECRET} {ending}".encode())

    assert MountedEnvironment({"NAME_FILE": str(file)})["NAME"] == f" {SECRET} "


def test_a_file_is_read_anew_each_time_so_that_a_rotated_secret_is_seen(file: Path) -> None:
    environ = MountedEnvironment({"NAME_FILE": str(file)})
    assert environ["NAME"] == SECRET

    file.write_text("rotated")

    assert environ["NAME"] == "rotated"


def test_a_variable_set_to_nothing_leaves_room_for_the_file(file: Path) -> None:
    assert MountedEnvironment({"NAME": "", "NAME_FILE": str(file)})["NAME"] == SECRET


def test_a_file_variable_set_to_nothing_is_not_set() -> None:
    environ = MountedEnvironment({"NAME": "value", "NAME_FILE": ""})

    assert environ["NAME"] == "value"
    assert MountedEnvironment({"NAME_FILE": ""}).get("NAME") is None


def test_a_variable_and_its_file_may_not_both_be_set(file: Path) -> None:
    environ = MountedEnvironment({"CATH_DATABASE_URL": SECRET, "CATH_DATABASE_URL_FILE": str(file)})

    assert "CATH_DATABASE_URL and CATH_DATABASE_URL_FILE are both set" in complaint(environ)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere")

    said = complaint(MountedEnvironment({"CATH_DATABASE_URL_FILE": path}))

    assert "CATH_DATABASE_URL_FILE" in said
    assert path in said
    assert "No such file" in said


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\xff\xfe" + SECRET.encode(), "UTF-8"),
        (SECRET.encode() + b"\0", "no text"),
        (SECRET.encode() * MAX_BYTES, "longer"),
    ],
    ids=["empty", "line break", "no UTF-8", "zero byte", "too long"],
)
def test_a_file_that_holds_no_value_is_refused(file: Path, content: bytes, wrong: str) -> None:
    file.write_bytes(content)

    assert wrong in complaint(MountedEnvironment({"CATH_DATABASE_URL_FILE": str(file)}))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "directory" in complaint(MountedEnvironment({"CATH_DATABASE_URL_FILE": str(tmp_path)}))


def test_files_of_variables_that_nobody_asks_for_are_not_read(tmp_path: Path) -> None:
    missing = {"SSL_CERT_FILE": str(tmp_path / "nowhere"), "SSL_CERT": "both"}
    backends = EnvironmentBackends("CATH", missing | {"CATH_NOTIFY_API_KEY": "", "CATH_DATABASE_URL": "x"})

    assert (backends.is_configured, backends.has_mail) == (True, False)
    assert "SSL_CERT_FILE" in set(backends.environ)


def test_the_database_and_the_key_for_mail_may_come_from_files(tmp_path: Path) -> None:
    with NotifySimulator() as notify:
        (tmp_path / "key").write_text(f"{notify.api_key}\n")
        (tmp_path / "url").write_text("postgresql://someone@127.0.0.1:1/cath\n")
        backends = EnvironmentBackends(
            "CATH",
            {
                "CATH_DATABASE_URL_FILE": str(tmp_path / "url"),
                "CATH_NOTIFY_API_KEY_FILE": str(tmp_path / "key"),
                "CATH_NOTIFY_BASE_URL": notify.base_url,
                "CATH_NOTIFY_TEMPLATE_MEDIA_WARNING": "11111111-2222-4333-8444-555555555555",
            },
        )

        mailer = backends.mailer()

        assert isinstance(mailer, NotifyMailer)
        mailer.check()
        mailer.close()
    assert backends.is_configured
