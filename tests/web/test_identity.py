"""Who somebody is: what a proxy says counts only from a proxy's socket, a token only as long as it is one."""

from datetime import timedelta

import pytest

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.web.guesses import ALLOWED, PERIOD_SECONDS, Guesses
from cath_dagster.web.rights import Role
from cath_dagster.web.sessions import SESSION_COOKIE
from cath_dagster.web.settings import parse_networks, parse_roles, read_console_settings
from tests.web.world import PROXY, SIGN_IN_CODE, World

ADMIN = {"X-Forwarded-User": "eve", "X-Forwarded-Groups": "all-admin"}
JOBS = "/api/v1/jobs"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "more",
    [{}, {"X-Forwarded-For": PROXY}, {"X-Real-IP": PROXY}, {"Forwarded": f"for={PROXY}"}, {"Host": PROXY}],
    ids=["alone", "forwarded-for", "real-ip", "forwarded", "host"],
)
def test_headers_of_a_stranger_are_nobody_whatever_he_says_of_his_address(world: World, more: dict[str, str]) -> None:
    assert world.stranger.get(JOBS, headers=ADMIN | more).status_code == 401
    assert world.local.get(JOBS, headers=ADMIN | more).status_code == 401
    assert world.proxy.get(JOBS, headers=ADMIN | more).status_code == 200


def test_a_proxy_that_passes_on_what_a_client_sent_beside_its_own_is_not_believed(world: World) -> None:
    for twice in ("X-Forwarded-User", "X-Forwarded-Groups"):
        headers = [*ADMIN.items(), (twice, "mallory")]
        assert world.proxy.get(JOBS, headers=headers).status_code == 401
    assert world.proxy.get(JOBS, headers={**ADMIN, "X-Forwarded-User": " "}).status_code == 401
    assert world.proxy.get(JOBS, headers={**ADMIN, "X-Forwarded-User": "a" * 5_000}).status_code == 401


def test_nobody_is_taken_for_a_token_or_a_local_admin_by_his_name(world: World) -> None:
    world.ask("PUT", f"{JOBS}/cath/clear_audit/enabled", user="token:ci", json={"enabled": False})
    world.ask("PUT", f"{JOBS}/cath/clear_audit/enabled", user="local-admin", json={"enabled": False})

    actors = {entry["actor"] for entry in world.ask("GET", "/api/v1/audit").json()["items"]}
    assert actors == {"user:token:ci", "user:local-admin"}


def test_a_refusal_says_what_to_do_and_is_a_problem(world: World) -> None:
    answer = world.stranger.get(JOBS)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["status"] == 401


def test_a_token_is_good_until_it_expires_or_is_revoked_and_its_last_use_is_seen(world: World) -> None:
    token = world.token(Role.VIEWER, expires_at=world.now + timedelta(days=1))

    assert world.stranger.get(JOBS, headers=bearer(token)).status_code == 200
    (shown,) = world.ask("GET", "/api/v1/tokens").json()["items"]
    assert shown["last_used_at"] is not None
    assert "hash" not in " ".join(shown)
    world.later(timedelta(days=1))
    assert world.stranger.get(JOBS, headers=bearer(token)).status_code == 401

    lasting = world.token(Role.VIEWER, name="lasting")
    assert world.stranger.get(JOBS, headers=bearer(lasting)).status_code == 200
    assert world.ask("DELETE", "/api/v1/tokens/lasting").status_code == 204
    assert world.stranger.get(JOBS, headers=bearer(lasting)).status_code == 401
    assert world.ask("DELETE", "/api/v1/tokens/lasting").status_code == 409
    assert world.instance.count("operations.console_token", f"secret_hash LIKE '%{lasting[-10:]}%'") == 0


@pytest.mark.parametrize("wrong", ["", "x", "Basic eDp5", "Bearer", "Bearer cdt_1_2", "Bearer ü"])
def test_what_is_no_token_is_refused(world: World, wrong: str) -> None:
    assert world.stranger.get(JOBS, headers=[(b"Authorization", wrong.encode())]).status_code == 401
    # A wrong token is not made good by a header of the proxy's.
    assert world.proxy.get(JOBS, headers=[*ADMIN.items(), ("Authorization", "Bearer cdt_1_2")]).status_code == 401


def test_whoever_guesses_is_not_heard_for_a_while_and_others_are(world: World) -> None:
    token, other = world.token(Role.VIEWER), world.token(Role.VIEWER, name="other")
    wrong = f"{token[:-1]}{'a' if token[-1] != 'a' else 'b'}"

    statuses = [world.stranger.get(JOBS, headers=bearer(wrong)).status_code for _ in range(ALLOWED + 1)]

    assert statuses == [401] * ALLOWED + [429]
    # Even the right one, or guessing would go on until it is found.
    limited = world.stranger.get(JOBS, headers=bearer(token))
    assert limited.status_code == 429
    assert 0 < int(limited.headers["retry-after"]) <= PERIOD_SECONDS
    assert world.stranger.get(JOBS, headers=bearer(other)).status_code == 200
    assert world.local.get(JOBS, headers=bearer(token)).status_code == 200


def test_guesses_are_forgotten_after_their_period() -> None:
    at = [0.0]
    guesses = Guesses(clock=lambda: at[0])
    for _ in range(ALLOWED):
        guesses.was_wrong("eve")

    assert guesses.must_wait("eve") == PERIOD_SECONDS
    at[0] = PERIOD_SECONDS
    assert guesses.must_wait("eve") == 0
    guesses.was_wrong("eve")
    assert guesses.must_wait("eve") == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://testserver"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_change_that_another_site_has_a_browser_send_is_refused(
    world: World, headers: dict[str, str], status: int
) -> None:
    path = f"{JOBS}/cath/clear_audit/enabled"

    assert world.ask("PUT", path, headers=headers, json={"enabled": True}).status_code == status
    # A token is in no browser's keeping.
    with_token = headers | bearer(world.token())
    assert world.stranger.put(path, headers=with_token, json={"enabled": True}).status_code == 200


def test_the_one_time_code_signs_one_browser_in_once_and_only_from_this_machine(world: World) -> None:
    link = f"/sign-in?code={SIGN_IN_CODE}"
    assert world.local.get(JOBS).status_code == 401
    assert world.stranger.get(link).status_code == 401
    assert world.proxy.get(link).status_code == 401
    assert world.local.get("/sign-in?code=wrong").status_code == 401

    world.local.cookies.set(SESSION_COOKIE, "put there by somebody else")
    answer = world.local.get(link)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    (cookie,) = (line for line in answer.headers.get_list("set-cookie") if line.startswith(SESSION_COOKIE))
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "put there" not in cookie
    assert world.local.get(JOBS).status_code == 200
    session = {"Cookie": cookie.partition(";")[0]}
    world.local.cookies.clear()
    assert world.local.get(link).status_code == 401
    assert world.stranger.get(JOBS, headers=session).status_code == 401
    assert world.local.get(JOBS, headers=session).status_code == 200
    world.later(timedelta(hours=13))
    assert world.local.get(JOBS, headers=session).status_code == 401


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("DAGSTER_POSTGRES_URL", "", "DAGSTER_POSTGRES_URL not set"),
        ("CONSOLE_DAGSTER_URL", "", "CONSOLE_DAGSTER_URL not set"),
        ("CONSOLE_DAGSTER_URL", "http://me:hunter2@dagster", "CONSOLE_DAGSTER_URL is no address"),
        ("CONSOLE_PORT", "seventy", "CONSOLE_PORT is 'seventy'"),
        ("CONSOLE_ROLES", "{", "CONSOLE_ROLES is no JSON"),
        ("CONSOLE_ROLES", '{"a": "admin"}', "no object of objects"),
        ("CONSOLE_ROLES", '{"a": {"cath": "owner"}}', "gives 'a' the role 'owner'"),
        ("CONSOLE_ROLES", '{"a": {"kath": "admin"}}', "a role in 'kath'"),
        ("CONSOLE_TRUSTED_PROXIES", "proxy.example.org", "CONSOLE_TRUSTED_PROXIES"),
        ("CONSOLE_HOST", "0.0.0.0", "CONSOLE_SIGN_IN_CODE is set"),
    ],
)
def test_a_wrong_variable_is_named_before_anything_listens(variable: str, value: str, says: str) -> None:
    environ = {
        "DAGSTER_POSTGRES_URL": "postgresql://localhost/dagster",
        "CONSOLE_DAGSTER_URL": "http://localhost:3000",
        "CONSOLE_SIGN_IN_CODE": "made-up",
    }

    with pytest.raises(ConfigurationError) as raised:
        read_console_settings(environ | {variable: value}, ["cath", "bon"])

    assert says in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_what_is_trusted_is_addresses_and_networks() -> None:
    networks = parse_networks("10.0.0.1, 10.1.0.0/16 fd00::/8")

    trusted = read_console_settings(
        {
            "DAGSTER_POSTGRES_URL": "postgresql://x/y",
            "CONSOLE_DAGSTER_URL": "http://x",
            "CONSOLE_TRUSTED_PROXIES": "10.0.0.1, 10.1.0.0/16 fd00::/8",
        },
        [],
    )

    assert trusted.trusted_proxies == networks
    assert [trusted.trusts(peer) for peer in ("10.0.0.1", "10.1.2.3", "::ffff:10.0.0.1", "fd00::7")] == [True] * 4
    assert [trusted.trusts(peer) for peer in ("10.0.0.2", "testclient", None, "")] == [False] * 4
    assert parse_roles('{"a": {"*": "admin"}}', []) == {"a": {"*": Role.ADMIN}}
