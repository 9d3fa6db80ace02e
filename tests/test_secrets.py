"""No secret and no e-mail address is in what a failing run leaves behind: not in what the command line prints, not in
the ledger, not in anything that Dagster keeps, and not in its telemetry.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Span, StatusCode

from cath_dagster.adapters.exporters import find_destinations
from cath_dagster.bon.token_cipher import TokenCipher
from cath_dagster.development.simulators.smtp import SmtpServer
from tests.bon.bon import Bon
from tests.support.certificate import make_certificate
from tests.support.cli import server_that_refuses_the_password
from tests.support.collector import collecting
from tests.support.exposure import ACCOUNT_KEY, NOTIFY_SECRET, WORD, Exposure
from tests.support.service import Service

PASSWORD = f"{WORD}-password"
CLIENT_SECRET = f"{WORD}-client-secret"
TOKEN = f"{WORD}-refresh-token"
ADDRESS = f"{WORD}.person@example.org"
NAME = f"{WORD} Person"
RAISING = """
CREATE FUNCTION raise_it() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% is kept, says the service', OLD {errcode}; END $$;
CREATE TRIGGER raise_it BEFORE UPDATE OR DELETE ON "{table}" FOR EACH ROW EXECUTE FUNCTION raise_it()
"""


@pytest.fixture
def exposure(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Exposure]:
    with collecting() as collector:
        yield Exposure(tmp_path, capfd, caplog, monkeypatch, collector)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Yield what closes the servers of a scenario."""
    with ExitStack() as opened:
        yield opened


# The witness itself


def in_an_attribute(span: Span) -> None:
    span.set_attribute("url", f"smtp://bon:{PASSWORD}@mail.example.org")


def in_an_event(span: Span) -> None:
    span.add_event("outcome", {"errors": [f"{ADDRESS} is wrong"]})


def in_the_status(span: Span) -> None:
    span.set_status(StatusCode.ERROR, f"cannot log in with {PASSWORD}")


def in_a_recorded_exception(span: Span) -> None:
    try:
        raise RuntimeError("the run failed") from ValueError(PASSWORD)
    except RuntimeError as error:
        span.record_exception(error)


@pytest.mark.parametrize("leak", [in_an_attribute, in_an_event, in_the_status, in_a_recorded_exception])
def test_a_secret_in_a_span_is_found(leak: Callable[[Span], None], exposure: Exposure) -> None:
    exposure.said.append("what a run said beside it " * 100)
    exposure.assert_silent()
    (destination,) = find_destinations(exposure.collector.otlp)
    tracing = TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(destination.open().spans))
    with tracing.get_tracer("test").start_as_current_span("batches") as span:
        leak(span)
    tracing.shutdown()

    with pytest.raises(AssertionError, match=WORD):
        exposure.assert_silent()


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
        'CREATE TABLE note (user_id uuid NOT NULL REFERENCES "user" ON DELETE SET NULL, author text, text text);'
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


@pytest.mark.stack
@pytest.mark.parametrize("scenario", CATH_SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_of_cath_comes_to_light_when(
    scenario: CathScenario, service: Service, exposure: Exposure, stack: ExitStack
) -> None:
    key = service.environ["CATH_NOTIFY_API_KEY"]
    job = scenario(service, stack)

    exposure.fail(service, job)

    exposure.assert_silent(key, key[-36:])


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
    bon.smtp.answer_next("RCPT", f"550 5.2.1 <{ADDRESS}>: {NAME} is gone", times=50)
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


@pytest.mark.stack
@pytest.mark.parametrize("scenario", BON_SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_of_bon_comes_to_light_when(
    scenario: BonScenario, bon: Bon, exposure: Exposure, stack: ExitStack, tmp_path: Path
) -> None:
    job = scenario(bon, stack, tmp_path)

    exposure.fail(bon, job)

    exposure.assert_silent()
