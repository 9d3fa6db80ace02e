"""GitHub's endpoints asked of a server that listens, and misbehaves in every way there is."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from cath_dagster.adapters.github import GitHubClient, check_api_url, check_token
from cath_dagster.adapters.github_limits import Persistence
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.ports.github import GitHubError, Place, Repository, Scope
from cath_dagster.development.simulators.github import GitHubServer
from cath_dagster.development.simulators.github_repositories import Answer

NOW = datetime(2026, 11, 20, 8, 0, 30, 700_000, tzinfo=UTC)
SECOND = NOW.replace(microsecond=0)
REPOSITORY = Repository("acme", "shop")
ACTIONS = Place(Scope.ACTIONS)
PRODUCTION = Place(Scope.ENVIRONMENT, "production")
PLACES = [ACTIONS, Place(Scope.CODESPACES), Place(Scope.DEPENDABOT), PRODUCTION]
TOKEN = "planted-github-token"


@pytest.fixture
def server() -> Iterator[GitHubServer]:
    with GitHubServer(token=TOKEN, now=lambda: NOW) as started:
        started.add_repository("acme/shop", "production", "a/b c")
        yield started


@pytest.fixture
def waited() -> list[float]:
    return []


@pytest.fixture
def client(server: GitHubServer, waited: list[float]) -> Iterator[GitHubClient]:
    with closing(open_client(server, waited)) as opened:
        yield opened


def open_client(server: GitHubServer, waited: list[float], timeout: float = 5) -> GitHubClient:
    persistence = Persistence(sleep=waited.append, jitter=lambda: 0.25, now=lambda: NOW)
    return GitHubClient(server.url, TOKEN, persistence=persistence, timeout=timeout)


def put(client: GitHubClient, place: Place, name: str, value: bytes) -> bool:
    return client.put_secret(REPOSITORY, place, name, value, client.public_key(REPOSITORY, place))


def failure(work: Callable[[], object]) -> GitHubError:
    with pytest.raises(GitHubError) as caught:
        work()
    assert "planted" not in f"{caught.value!r} {caught.value.says} {caught.value.__cause__!r}"
    return caught.value


def test_a_secret_is_sealed_for_its_own_place_shown_and_deleted(server: GitHubServer, client: GitHubClient) -> None:
    for place in PLACES:
        assert put(client, place, "NAME", f"planted {place}".encode()) is True
        assert put(client, place, "NAME", f"planted {place} again".encode()) is False

    assert {place: server.values("acme/shop", str(place)) for place in PLACES} == {
        place: {"NAME": f"planted {place} again".encode()} for place in PLACES
    }
    found = [client.secret(REPOSITORY, place, "NAME") for place in PLACES]
    assert [found and (found.created_at, found.updated_at) for found in found] == [(SECOND, SECOND)] * 4
    assert [client.delete_secret(REPOSITORY, place, "NAME") for place in PLACES] == [True] * 4
    assert [client.delete_secret(REPOSITORY, place, "NAME") for place in PLACES] == [False] * 4
    assert [client.secret(REPOSITORY, place, "NAME") for place in PLACES] == [None] * 4


def test_a_value_leaves_us_in_a_sealed_box_alone(server: GitHubServer, client: GitHubClient) -> None:
    put(client, ACTIONS, "NAME", b"planted value")

    for request in server.requests:
        assert "planted value" not in json.dumps(request.body)
        assert (request.headers["x-github-api-version"], request.headers["accept"]) == (
            "2026-03-10",
            "application/vnd.github+json",
        )


def test_a_list_has_what_is_on_every_page(server: GitHubServer, client: GitHubClient) -> None:
    keeper = server.keeper("acme/shop")
    sealed = keeper.seal(b"")
    for number in range(201):
        server.repositories.store(keeper, f"N{number:03}", sealed)

    assert [each.name for each in client.secrets(REPOSITORY, ACTIONS)] == [f"N{number:03}" for number in range(201)]
    assert [request.query.get("page", "1") for request in server.requests] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("http://elsewhere.example/repos/x?page=2", "another address"),
        ("/repos/acme/shop/actions/secrets?page=1", "no end"),
    ],
)
def test_a_list_that_leads_away_or_round_in_a_circle_is_none(
    server: GitHubServer, client: GitHubClient, link: str, says: str
) -> None:
    answer = Answer(200, {"secrets": []}, {"Link": f'<{link}>; rel="next"'})
    for _ in range(100):
        server.answer_next(answer)

    assert says in failure(lambda: client.secrets(REPOSITORY, ACTIONS)).says


def test_a_list_of_which_a_page_fails_is_none(server: GitHubServer, client: GitHubClient) -> None:
    for number in range(101):
        server.plant("acme/shop", "actions", f"N{number:03}", b"")
    server.answer_next(Answer(200, {"secrets": []}, {"Link": f'<{server.url}/gone?page=2>; rel="next"'}))

    assert failure(lambda: client.secrets(REPOSITORY, ACTIONS)).status == 404


def test_what_is_left_is_known_after_each_answer(server: GitHubServer, client: GitHubClient) -> None:
    server.limit, server.remaining = 5_000, 4_200

    before = client.rate_limit()["core"]
    client.secrets(REPOSITORY, ACTIONS)

    assert (before.limit, before.remaining) == (5_000, 4_200)
    assert before.reset_at == SECOND + timedelta(hours=1)
    assert client.quotas["core"].remaining == 4_199
    server.counts = False
    assert client.rate_limit() == {}


@pytest.mark.parametrize(
    ("plant", "pauses"),
    [
        (lambda server: server.fail_next(503, message=None, times=3), [1.25, 2.25, 4.25]),
        (lambda server: server.fail_next(502, headers={"Retry-After": "7"}), [7]),
        (lambda server: server.close_next(times=2), [1.25, 2.25]),
        (lambda server: server.limit_next(429), [1.25]),
        (lambda server: server.limit_next(403), [1.25]),
        (lambda server: server.limit_next(403, retry_after=120), [120]),
        (lambda server: server.limit_next(429, retry_after=0), [0]),
        (lambda server: server.fail_next(429, message=None, headers={"Retry-After": "soon"}), [1.25]),
        (
            lambda server: server.fail_next(
                403,
                message="planted",
                headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(SECOND.timestamp()) + 60)},
            ),
            [pytest.approx(60.3)],
        ),
    ],
)
def test_what_passes_is_waited_out(
    server: GitHubServer,
    client: GitHubClient,
    waited: list[float],
    plant: Callable[[GitHubServer], None],
    pauses: list[float],
) -> None:
    plant(server)

    assert client.secrets(REPOSITORY, ACTIONS) == []
    assert waited == pauses


@pytest.mark.parametrize(
    ("plant", "attempts", "is_outage", "is_limit"),
    [
        (lambda server: server.fail_next(500, times=9), 4, True, False),
        (lambda server: server.close_next(times=9), 4, True, False),
        (lambda server: server.limit_next(403, times=9), 4, False, True),
        (lambda server: server.limit_next(429, retry_after=121, times=9), 1, False, True),
        (lambda server: setattr(server, "remaining", 0), 1, False, True),
        (lambda server: server.fail_next(403, times=9), 1, False, False),
        (lambda server: server.fail_next(401, times=9), 1, False, False),
        (lambda server: server.fail_next(301, headers={"Location": "/elsewhere"}, times=9), 1, False, False),
        (lambda server: server.fail_next(200, message=None, times=9), 1, False, False),
        (lambda server: server.answer_next(Answer(200, {"secrets": {}})), 1, False, False),
        (lambda server: server.answer_next(Answer(200, {"secrets": [{"name": "N"}]})), 1, False, False),
    ],
)
def test_what_does_not_pass_is_a_failure(
    server: GitHubServer,
    client: GitHubClient,
    plant: Callable[[GitHubServer], None],
    attempts: int,
    is_outage: bool,
    is_limit: bool,
) -> None:
    plant(server)

    error = failure(lambda: client.secrets(REPOSITORY, ACTIONS))

    assert (len(server.requests), error.is_outage, error.is_limit) == (attempts, is_outage, is_limit)


def test_a_page_that_says_not_found_does_not_say_that_a_secret_is_gone(
    server: GitHubServer, client: GitHubClient
) -> None:
    for work in (
        lambda: client.secret(REPOSITORY, ACTIONS, "NAME"),
        lambda: client.delete_secret(REPOSITORY, ACTIONS, "NAME"),
    ):
        server.fail_next(404, message=None)
        assert "no JSON" in failure(work).says


def test_a_server_that_hangs_or_drips_is_given_up(server: GitHubServer, waited: list[float]) -> None:
    server.hang_next(30, times=4)
    with closing(open_client(server, waited, timeout=0.05)) as client:
        assert failure(lambda: client.secrets(REPOSITORY, ACTIONS)).is_outage
    assert len(waited) == 3


def test_an_answer_without_end_is_not_read(
    server: GitHubServer, client: GitHubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client._exchange, "_max_bytes", 1_000)
    for _ in range(4):
        server.answer_next(Answer(200, {"secrets": ["x" * 2_000]}))

    assert "more than 1,000 bytes" in failure(lambda: client.secrets(REPOSITORY, ACTIONS)).says


def test_a_write_whose_answer_is_lost_is_made_again_and_is_the_same(server: GitHubServer, client: GitHubClient) -> None:
    server.close_next(pattern="^PUT", is_done=True)
    server.close_next(pattern="^DELETE", is_done=True)

    assert put(client, ACTIONS, "NAME", b"planted") is False
    assert server.values("acme/shop") == {"NAME": b"planted"}
    assert client.delete_secret(REPOSITORY, ACTIONS, "NAME") is False
    assert server.values("acme/shop") == {}


def test_comments_are_written_listed_and_edited(server: GitHubServer, client: GitHubClient) -> None:
    for number in range(101):
        server.add_comment("acme/shop", 7, f"comment {number}")

    made = client.create_comment(REPOSITORY, 7, "planted\n<!-- marker -->")
    client.edit_comment(REPOSITORY, made.comment_id, "edited")

    found = client.comments(REPOSITORY, 7)
    assert (len(found), found[-1].body, found[-1].author) == (102, "edited", "cloudmake")
    assert client.comments(REPOSITORY, 8) == []


def test_a_comment_whose_answer_is_lost_is_not_written_twice(server: GitHubServer, client: GitHubClient) -> None:
    server.close_next(pattern="^POST", is_done=True)

    assert failure(lambda: client.create_comment(REPOSITORY, 7, "planted")).is_outage
    assert server.comments("acme/shop", 7) == ["planted"]


def test_a_comment_that_is_turned_away_for_now_is_written_later(server: GitHubServer, client: GitHubClient) -> None:
    server.limit_next(403, pattern="^POST")

    client.create_comment(REPOSITORY, 7, "planted")

    assert server.comments("acme/shop", 7) == ["planted"]


def test_a_token_that_may_read_alone_is_refused_in_githubs_own_words(
    server: GitHubServer, client: GitHubClient
) -> None:
    server.is_read_only = True

    error = failure(lambda: client.create_comment(REPOSITORY, 7, "planted"))

    assert error.says == ("GitHub does not let the token do this (HTTP 403: Resource not accessible by integration)")


def test_an_environment_is_deleted_once_and_one_that_cannot_be_seen_is_not_gone(
    server: GitHubServer, client: GitHubClient
) -> None:
    assert [client.delete_environment(REPOSITORY, name) for name in ("a/b c", "a/b c")] == [True, False]
    assert server.environments("acme/shop") == ["production"]

    assert failure(lambda: client.delete_environment(Repository("acme", "hidden"), "production")).status == 404


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_lead_to_the_repository_itself_is_never_asked_for(
    server: GitHubServer, client: GitHubClient, name: str
) -> None:
    for work in (
        lambda: client.delete_environment(REPOSITORY, name),
        lambda: client.delete_secret(REPOSITORY, ACTIONS, name),
        lambda: client.secrets(REPOSITORY, Place(Scope.ENVIRONMENT, name)),
    ):
        failure(work)
    assert server.requests == []


def test_what_is_no_key_is_sealed_by_no_one(server: GitHubServer, client: GitHubClient) -> None:
    for key in ("!", "", "c2hvcnQ="):
        server.answer_next(Answer(200, {"key_id": "1", "key": key}))
        assert "is none" in failure(lambda: client.public_key(REPOSITORY, ACTIONS)).says


@pytest.mark.parametrize("url", ["http://api.github.example", "ftp://127.0.0.1", "127.0.0.1", "https://"])
def test_a_token_travels_by_https_or_on_this_machine_alone(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CLOUDMAKE_GITHUB_API_URL"):
        check_api_url(url, "CLOUDMAKE_GITHUB_API_URL")


def test_the_address_is_githubs_unless_told_otherwise() -> None:
    assert [check_api_url(url, "X") for url in (None, "https://github.acme.example/api/v3/", "http://[::1]:80")] == [
        "https://api.github.com",
        "https://github.acme.example/api/v3",
        "http://[::1]:80",
    ]


@pytest.mark.parametrize("token", ["planted\n", "plan ted", "planté", ""])
def test_a_token_that_no_header_can_hold_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ConfigurationError, match="CLOUDMAKE_GITHUB_TOKEN") as caught:
        check_token(token, "CLOUDMAKE_GITHUB_TOKEN")
    assert "plan" not in str(caught.value)


@pytest.mark.parametrize("name", ["acme", "acme/", "/shop", "acme/shop/issues", "acme/..", "acme/a b", "acme/%2e"])
def test_what_is_no_repository_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="owner/name"):
        Repository.parse(name)


def test_the_token_is_in_no_representation(client: GitHubClient) -> None:
    assert TOKEN not in f"{client!r} {client} {vars(client)['_exchange']!r}"


def test_a_place_reads_what_it_writes() -> None:
    assert [Place.parse(str(place)) for place in PLACES] == PLACES
    assert [str(place) for place in PLACES] == ["actions", "codespaces", "dependabot", "environment:production"]
