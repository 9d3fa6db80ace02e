"""No secret and no e-mail address is in what a failing run leaves behind: not in what the command line prints, not in
the ledger, and not in anything that Dagster keeps.
"""

import base64
import json
import logging
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository  # what a run worker loads a job from

from cath_dagster.bon.token_cipher import TokenCipher
from cath_dagster.development.smtp import SmtpServer
from tests.bon.bon import KEY, Bon
from tests.certificate import make_certificate
from tests.cli.test_cli import call, server_that_refuses_the_password
from tests.maintained import Maintained
from tests.service import Service

WORD = "Pl4nted"
"""Part of every secret, so that a piece of one is found as well."""
PASSWORD = f"{WORD}-password"
CLIENT_SECRET = f"{WORD}-client-secret"
TOKEN = f"{WORD}-refresh-token"
ADDRESS = f"{WORD}.person@example.org"
NAME = f"{WORD} Person"
ACCOUNT_KEY = base64.b64encode(f"{WORD}-account-key".encode()).decode()
NOTIFY_SECRET = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff"
MAIL_SERVER = "mail.log"
"""The logger of the mail server that a scenario starts in this process."""
RAISING = """
CREATE FUNCTION raise_it() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% is kept, says the service', OLD {errcode}; END $$;
CREATE TRIGGER raise_it BEFORE UPDATE OR DELETE ON "{table}" FOR EACH ROW EXECUTE FUNCTION raise_it()
"""


@dataclass
class Witness:
    """Runs a job that must fail, by the command line and in Dagster, and keeps all that came to light."""

    folder: Path
    capfd: pytest.CaptureFixture[str]
    caplog: pytest.LogCaptureFixture
    monkeypatch: pytest.MonkeyPatch
    said: list[str] = field(default_factory=list)

    def fail(self, maintained: Maintained, job: str, **config: object) -> None:
        self._by_command(maintained, "run", job, "--as-of", maintained.as_of.isoformat(), "--json")
        self._in_dagster(maintained, job, {"as_of": maintained.as_of.isoformat(), **config})
        self._in_database(maintained)

    def examine(self, maintained: Maintained) -> None:
        self._by_command(maintained, "doctor", maintained.location.name, "--all")

    def assert_silent(self, *secrets: str) -> None:
        everything = "\n".join(self.said)
        assert len(everything) > 1_000, "nothing was kept"
        for secret in (WORD, NOTIFY_SECRET, KEY, ACCOUNT_KEY, *secrets):
            for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
                at = everything.casefold().find(form.casefold())
                assert at < 0, everything[max(0, at - 200) : at + 200]

    def _by_command(self, maintained: Maintained, *arguments: str) -> None:
        done: subprocess.CompletedProcess[str] = call(maintained.environ, *arguments)
        assert done.returncode in (1, 2), done.stdout
        self.said += [done.stdout, done.stderr]

    def _in_dagster(self, maintained: Maintained, job: str, config: dict[str, object]) -> None:
        for name, value in maintained.environ.items():
            self.monkeypatch.setenv(name, value)
        home = self.folder / "dagster"
        home.mkdir(exist_ok=True)
        code = ReconstructableRepository.for_module(f"cath_dagster.{maintained.location.name}.definitions", "defs")
        with (
            self.caplog.at_level(logging.DEBUG),
            dg.instance_for_test(temp_dir=str(home), set_dagster_home=False) as instance,
        ):
            result = dg.execute_job(code.get_reconstructable_job(job), instance, run_config=config)
            assert not result.success
            run = instance.get_run_by_id(result.run_id)
            assert run is not None
            self.said += [str(run), str(run.run_config), str(run.tags)]
            self.said += [f"{entry}\n{entry.user_message}" for entry in instance.all_logs(result.run_id)]
            self.said += [path.read_bytes().decode(errors="replace") for path in home.rglob("*") if path.is_file()]
        self.said += [
            f"{each.getMessage()} {each.exc_text}" for each in self.caplog.records if each.name != MAIL_SERVER
        ]
        self.said += self.capfd.readouterr()

    def _in_database(self, maintained: Maintained) -> None:
        for table in ("ledger_event", "sent_notice", "file_outbox", "deleted_key", "restored_row"):
            self.said += [
                str(row) for row in maintained.rows(f"SELECT row_to_json(r)::text FROM maintenance.{table} r")
            ]


@pytest.fixture
def witness(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Witness:
    return Witness(tmp_path, capfd, caplog, monkeypatch)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Yield what closes the servers of a scenario."""
    with ExitStack() as opened:
        yield opened


# CaTH

CathScenario = Callable[[Service, ExitStack], str]
"""Makes a job of CaTH fail, and returns its name."""


def the_database_refuses_the_password(service: Service, stack: ExitStack) -> str:
    port = stack.enter_context(server_that_refuses_the_password())
    service.environ["CATH_DATABASE_URL"] = f"postgresql://someone:{PASSWORD}@127.0.0.1:{port}/cath?sslmode=disable"
    return "clear_audit"


def the_database_is_not_there(service: Service, stack: ExitStack) -> str:
    del stack
    service.environ["CATH_DATABASE_URL"] = f"postgresql://someone:{PASSWORD}@127.0.0.1:1/cath"
    return "clear_audit"


def the_password_of_the_url_is_not_encoded(service: Service, stack: ExitStack) -> str:
    del stack
    service.environ["CATH_DATABASE_URL"] = f"postgresql://someone:{PASSWORD}%@127.0.0.1:1/cath"
    return "clear_audit"


def the_password_of_the_url_holds_a_slash(service: Service, stack: ExitStack) -> str:
    del stack
    service.environ["CATH_DATABASE_URL"] = f"postgresql://someone:1/{PASSWORD}@127.0.0.1/cath"
    return "clear_audit"


def the_password_of_the_url_holds_an_at(service: Service, stack: ExitStack) -> str:
    del stack
    service.environ["CATH_DATABASE_URL"] = f"postgresql://someone:a@{PASSWORD}@127.0.0.1/cath"
    return "clear_audit"


def the_database_s_variable_holds_something_else(service: Service, stack: ExitStack) -> str:
    del stack
    service.environ["CATH_DATABASE_URL"] = PASSWORD
    return "clear_audit"


def a_trigger_quotes_the_row(service: Service, stack: ExitStack) -> str:
    del stack
    service.add_user(
        "SSO", role="INTERNAL_ADMIN_CTSC", email=ADDRESS, surname=NAME, last_signed_in_date=service.days_ago(200)
    )
    service.connection.execute(RAISING.format(table="user", errcode=""))
    return "inactive_verification"


def a_trigger_quotes_the_row_as_if_it_were_a_privilege(service: Service, stack: ExitStack) -> str:
    del stack
    service.add_user(
        "SSO", role="INTERNAL_ADMIN_CTSC", email=ADDRESS, surname=NAME, last_signed_in_date=service.days_ago(200)
    )
    service.connection.execute(RAISING.format(table="user", errcode="USING ERRCODE = '42501'"))
    return "inactive_verification"


def a_constraint_is_violated(service: Service, stack: ExitStack) -> str:
    del stack
    user = service.add_user(
        "SSO", role="INTERNAL_ADMIN_CTSC", email=ADDRESS, surname=NAME, last_signed_in_date=service.days_ago(200)
    )
    service.connection.execute(
        'CREATE TABLE note (user_id uuid REFERENCES "user", author text, text text);'
        f"INSERT INTO note VALUES ('{user}', '{NAME}', '{ADDRESS}')"
    )
    return "inactive_verification"


def notify_refuses_the_key_and_repeats_the_request(service: Service, stack: ExitStack) -> str:
    del stack
    service.add_user(email=ADDRESS, surname=NAME, last_signed_in_date=service.days_ago(120))
    said = f"Invalid token: {service.environ['CATH_NOTIFY_API_KEY']} {NOTIFY_SECRET} for {ADDRESS}"
    service.notify.fail_next(403, "AuthError", said, times=50)
    return "inactive_verification"


def notify_finds_the_address_wrong_and_repeats_it(service: Service, stack: ExitStack) -> str:
    del stack
    service.add_user(email=ADDRESS, surname=NAME, last_signed_in_date=service.days_ago(120))
    service.notify.fail_next(400, "ValidationError", f"template parameters of {ADDRESS} are wrong", times=50)
    return "inactive_verification"


def the_key_of_notify_is_none(service: Service, stack: ExitStack) -> str:
    del stack
    service.environ["CATH_NOTIFY_API_KEY"] = f"name-{NOTIFY_SECRET}-{WORD}"
    return "inactive_verification"


def the_blob_store_is_not_there(service: Service, stack: ExitStack) -> str:
    del stack
    service.environ |= {
        "CATH_BLOB_URL": "az://someaccount",
        "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
        "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1",
    }
    service.add_artefact(display_to=service.days_ago(1))
    return "expired_artefacts"


def the_url_of_the_blob_store_holds_a_signature(service: Service, stack: ExitStack) -> str:
    del stack
    service.environ["CATH_BLOB_URL"] = f"https://someaccount.blob.core.windows.net/?sig={PASSWORD}"
    return "expired_artefacts"


def the_account_s_key_is_none(service: Service, stack: ExitStack) -> str:
    del stack
    service.environ |= {"CATH_BLOB_URL": "az://someaccount", "AZURE_STORAGE_ACCOUNT_KEY": f"{PASSWORD}!"}
    return "expired_artefacts"


CATH_SCENARIOS: tuple[CathScenario, ...] = (
    the_database_refuses_the_password,
    the_database_is_not_there,
    the_password_of_the_url_is_not_encoded,
    the_password_of_the_url_holds_a_slash,
    the_password_of_the_url_holds_an_at,
    the_database_s_variable_holds_something_else,
    a_trigger_quotes_the_row,
    a_trigger_quotes_the_row_as_if_it_were_a_privilege,
    a_constraint_is_violated,
    notify_refuses_the_key_and_repeats_the_request,
    notify_finds_the_address_wrong_and_repeats_it,
    the_key_of_notify_is_none,
    the_blob_store_is_not_there,
    the_url_of_the_blob_store_holds_a_signature,
    the_account_s_key_is_none,
)


@pytest.mark.parametrize("scenario", CATH_SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_of_cath_comes_to_light_when(
    scenario: CathScenario, service: Service, witness: Witness, stack: ExitStack
) -> None:
    key = service.environ["CATH_NOTIFY_API_KEY"]
    job = scenario(service, stack)

    witness.fail(service, job)

    witness.assert_silent(key, key[-36:])


# BON

BonScenario = Callable[[Bon, ExitStack, Path], str]
"""Makes a job of BON fail, and returns its name."""


def add_overdue(bon: Bon) -> None:
    owner = bon.add_user(email=ADDRESS, name=NAME)
    bon.add_overdue(bon.add_business(owner, name=f"{WORD} Ltd"), customer_name=f"{WORD} Customer")


def add_credential(bon: Bon) -> None:
    bon.environ["BON_SHAAM_CLIENT_SECRET"] = CLIENT_SECRET
    owner = bon.add_user(email=ADDRESS, name=NAME)
    bon.add_credential(bon.add_business(owner, name=f"{WORD} Ltd"), token=TOKEN)


def the_mail_server_refuses_the_login(bon: Bon, stack: ExitStack, folder: Path) -> str:
    certificate, context = make_certificate(folder)
    server = stack.enter_context(SmtpServer(login=("bon", "another"), certificate=context))
    bon.environ |= {"BON_SMTP_URL": server.url.replace("another", PASSWORD), "SSL_CERT_FILE": str(certificate)}
    add_overdue(bon)
    return "overdue_detection"


def the_mail_server_repeats_the_address(bon: Bon, stack: ExitStack, folder: Path) -> str:
    del stack, folder
    bon.smtp.answer_next("RCPT", f"451 4.2.1 <{ADDRESS}>: {NAME} is busy", times=50)
    add_overdue(bon)
    return "overdue_detection"


def the_mail_server_s_url_is_none(bon: Bon, stack: ExitStack, folder: Path) -> str:
    del stack, folder
    bon.environ["BON_SMTP_URL"] = f"smtp://bon:{PASSWORD}@mail.example.org:none"
    add_overdue(bon)
    return "overdue_detection"


def the_provider_answers_with_what_it_was_asked(bon: Bon, stack: ExitStack, folder: Path) -> str:
    del stack, folder
    add_credential(bon)
    said = {"error": "invalid_request", "error_description": f"{CLIENT_SECRET} {TOKEN} {ADDRESS}"}
    for _ in range(4):
        bon.provider.answer_next(400, json.dumps(said))
    return "shaam_token_refresh"


def the_provider_names_the_secret_as_its_error(bon: Bon, stack: ExitStack, folder: Path) -> str:
    del stack, folder
    add_credential(bon)
    for _ in range(4):
        bon.provider.answer_next(400, json.dumps({"error": f"{CLIENT_SECRET}_{TOKEN}"}))
    return "shaam_token_refresh"


def the_provider_answers_a_page(bon: Bon, stack: ExitStack, folder: Path) -> str:
    del stack, folder
    add_credential(bon)
    for _ in range(4):
        bon.provider.answer_next(502, f"<html>{CLIENT_SECRET} {TOKEN}</html>", "text/html")
    return "shaam_token_refresh"


def the_provider_s_url_holds_a_password(bon: Bon, stack: ExitStack, folder: Path) -> str:
    del stack, folder
    add_credential(bon)
    bon.environ["BON_SHAAM_TOKEN_URL"] = f"https://someone:{PASSWORD}@127.0.0.1:1/token?key={PASSWORD}"
    return "shaam_token_refresh"


def the_key_of_the_tokens_is_none(bon: Bon, stack: ExitStack, folder: Path) -> str:
    del stack, folder
    add_credential(bon)
    bon.environ["BON_SHAAM_ENCRYPTION_KEY"] = PASSWORD
    return "shaam_token_refresh"


def a_token_cannot_be_decrypted(bon: Bon, stack: ExitStack, folder: Path) -> str:
    del stack, folder
    add_credential(bon)
    bon.connection.execute(
        "UPDATE business_shaam_credentials SET encrypted_refresh_token = %s",
        (TokenCipher("b2" * 32, "KEY").encrypt(TOKEN),),
    )
    return "shaam_token_refresh"


def a_trigger_quotes_the_invoice(bon: Bon, stack: ExitStack, folder: Path) -> str:
    del stack, folder
    add_overdue(bon)
    bon.connection.execute(RAISING.format(table="invoices", errcode="USING ERRCODE = 'XX000'"))
    return "overdue_detection"


BON_SCENARIOS: tuple[BonScenario, ...] = (
    the_mail_server_refuses_the_login,
    the_mail_server_repeats_the_address,
    the_mail_server_s_url_is_none,
    the_provider_answers_with_what_it_was_asked,
    the_provider_names_the_secret_as_its_error,
    the_provider_answers_a_page,
    the_provider_s_url_holds_a_password,
    the_key_of_the_tokens_is_none,
    a_token_cannot_be_decrypted,
    a_trigger_quotes_the_invoice,
)


@pytest.mark.parametrize("scenario", BON_SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_of_bon_comes_to_light_when(
    scenario: BonScenario, bon: Bon, witness: Witness, stack: ExitStack, tmp_path: Path
) -> None:
    job = scenario(bon, stack, tmp_path)

    witness.fail(bon, job)

    witness.assert_silent()
