"""shaam_token_refresh: due tokens are replaced, none is spent twice, and only a revoked one flags its business."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from cath_dagster.adapters.oauth import TokenEndpoint
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.bon.shaam import Ended, Ending, Refresher
from cath_dagster.bon.token_cipher import TokenCipher
from cath_dagster.core.ports.tokens import ClientAuth, Grant
from cath_dagster.core.postgres.database import Database
from tests.bon.bon import KEY, Bon
from tests.support.maintained import outcome
from tests.support.waiting import PATIENCE_SECONDS, wait_until

JOB = "shaam_token_refresh"
TABLE = "business_shaam_credentials"


def flagged(bon: Bon) -> set[uuid.UUID]:
    return {row[0] for row in bon.rows(f"SELECT business_id FROM {TABLE} WHERE needs_reauth")}


def test_stores_both_new_tokens_and_when_they_expire(bon: Bon) -> None:
    business = bon.add_credential(token="r-1", scope="old scope")
    before = datetime.now(UTC)

    result = bon.run(JOB)

    stored = bon.credential(business)
    assert (stored["access"], stored["refresh"], stored["scope"]) == ("access-1-r-1", "next-1-r-1", "old scope")
    assert timedelta(hours=1) <= stored["expires_at"] - before < timedelta(hours=1, minutes=5)
    assert stored["updated_at"] > bon.ago(days=1)
    assert not stored["needs_reauth"]
    assert (outcome(result, TABLE).matched, outcome(result, TABLE).updated) == (1, 1)


def test_keeps_the_old_refresh_token_where_none_comes_back(bon: Bon) -> None:
    bon.provider.rotates = False
    business = bon.add_credential(token="r-1")

    bon.run(JOB)

    assert bon.credential(business)["refresh"] == "r-1"
    assert bon.credential(business)["access"] == "access-1-r-1"


def test_stores_a_scope_that_the_provider_names(bon: Bon) -> None:
    bon.provider.extra["scope"] = "new scope"
    business = bon.add_credential(scope="old scope")

    bon.run(JOB)

    assert bon.credential(business)["scope"] == "new scope"


def test_takes_a_lifetime_from_the_settings_where_the_provider_names_none(bon: Bon) -> None:
    bon.provider.lifetime = None
    business = bon.add_credential()

    bon.run(JOB, lifetime_minutes=30)

    left = bon.credential(business)["expires_at"] - datetime.now(UTC)
    assert timedelta(minutes=29) < left <= timedelta(minutes=30)


@pytest.mark.parametrize(
    ("minutes", "is_due"), [(-100_000, True), (-1, True), (0, True), (19.99, True), (20, True), (20.01, False)]
)
def test_a_token_is_due_that_expires_within_twenty_minutes_or_has_expired(
    bon: Bon, minutes: float, is_due: bool
) -> None:
    bon.add_credential(minutes=minutes)

    bon.run(JOB)

    assert len(bon.provider.spent) == is_due


def test_the_window_is_a_setting(bon: Bon) -> None:
    bon.add_credential(minutes=30)

    bon.run(JOB, window_minutes=30)

    assert len(bon.provider.spent) == 1


def test_a_business_that_needs_to_authorise_again_is_left_alone(bon: Bon) -> None:
    bon.add_credential(needs_reauth=True)

    result = bon.run(JOB)

    assert bon.provider.requests == []
    assert outcome(result, TABLE).matched == 0
    assert bon.smtp.sent == []


def test_authenticates_in_the_body_where_the_settings_say_so(bon: Bon) -> None:
    bon.environ["BON_SHAAM_CLIENT_AUTH"] = "body"
    bon.add_credential()

    assert bon.run(JOB).status == "success"
    assert [request.is_basic for request in bon.provider.requests] == [False]


def test_a_second_run_finds_nothing(bon: Bon) -> None:
    bon.provider.lifetime = 10**8
    bon.add_credential()
    bon.run(JOB)

    again = bon.run(JOB)

    assert len(bon.provider.requests) == 1
    assert outcome(again, TABLE).matched == 0


def test_an_empty_table_is_nothing_to_do(bon: Bon) -> None:
    assert bon.run(JOB).status == "success"


def test_a_dry_run_counts_and_asks_nobody(bon: Bon) -> None:
    business = bon.add_credential(token="r-1")

    result = bon.run(JOB, dry_run=True)

    assert outcome(result, TABLE).matched == 1
    assert bon.provider.requests == []
    assert bon.credential(business)["refresh"] == "r-1"


def test_stops_at_max_rows(bon: Bon) -> None:
    later, sooner = bon.add_credential(minutes=10), bon.add_credential(minutes=-10)

    result = bon.run(JOB, max_rows=1)

    assert result.status == "success"
    assert bon.credential(sooner)["access"].startswith("access-")
    assert bon.credential(later)["access"] == "old-access"
    assert any("1 credentials are left" in note for note in result.notes)


# What the provider refuses


def test_a_revoked_token_flags_its_business_and_tells_its_owners(bon: Bon) -> None:
    ann, ben = bon.add_user(email="ann@example.org"), bon.add_user(email="ben@example.org")
    business = bon.add_credential(bon.add_business(ann, ben, name="Studio"), token="revoked")
    other = bon.add_credential()
    bon.provider.revoke("revoked")

    result = bon.run(JOB, settle_seconds=0)

    assert result.status == "success"
    assert flagged(bon) == {business}
    assert bon.credential(other)["access"].startswith("access-")
    assert outcome(result, TABLE).details == {"refreshed": 1, "flagged": 1}
    assert sorted(mail.recipient for mail in bon.smtp.sent) == ["ann@example.org", "ben@example.org"]
    assert "Studio" in bon.smtp.sent[0].subject


def test_owners_are_told_once(bon: Bon) -> None:
    bon.add_credential(token="revoked")
    bon.provider.revoke("revoked")
    bon.run(JOB, settle_seconds=0)

    bon.run(JOB, settle_seconds=0)
    bon.run(JOB, settle_seconds=0, as_of=bon.as_of + timedelta(days=3))

    assert len(bon.smtp.sent) == 1
    assert len(bon.provider.requests) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid_request"),
        (400, None),
        (401, "invalid_client"),
        (401, None),
        (403, None),
        (429, None),
        (500, "invalid_grant"),
        (503, None),
        (200, None),
    ],
)
def test_any_other_answer_flags_nobody_and_fails_the_run_after_the_others_are_done(
    bon: Bon, status: int, code: str | None
) -> None:
    failing, other = bon.add_credential(token="failing"), bon.add_credential()
    bon.provider.fail_for("failing", status, code)

    result = bon.run(JOB)

    assert result.status == "failed"
    assert flagged(bon) == set()
    assert bon.credential(failing)["refresh"] == "failing"
    assert bon.credential(other)["access"].startswith("access-")
    assert (outcome(result, TABLE).updated, outcome(result, TABLE).failed) == (1, 1)
    assert outcome(result, TABLE).details["failed_businesses"] == [str(failing)]
    assert bon.smtp.sent == []


def test_a_provider_that_hangs_does_not_hold_up_the_others(bon: Bon) -> None:
    hanging = bon.add_credential(token="hanging", minutes=-5)
    others = [bon.add_credential() for _ in range(5)]
    bon.provider.hang_for("hanging", 60)

    result = bon.run(JOB, timeout_seconds=1, concurrency=2)

    assert result.status == "failed"
    assert flagged(bon) == set()
    assert bon.credential(hanging)["access"] == "old-access"
    assert all(bon.credential(other)["access"].startswith("access-") for other in others)


def test_what_failed_is_tried_again_by_the_next_run(bon: Bon) -> None:
    business = bon.add_credential(token="r-1")
    bon.provider.fail_for("r-1", 503)
    bon.run(JOB)
    bon.provider.recover()

    assert bon.run(JOB).status == "success"
    assert bon.credential(business)["access"] == "access-1-r-1"


def test_a_token_that_cannot_be_decrypted_is_not_sent_anywhere(bon: Bon) -> None:
    damaged = bon.add_credential(encrypted_refresh_token="AAECAwQFBgcICQoLLkOe")
    other = bon.add_credential()

    result = bon.run(JOB)

    assert result.status == "failed"
    assert "cannot be decrypted" in (result.error or "")
    assert len(bon.provider.requests) == 1
    assert flagged(bon) == set()
    assert bon.credential(other)["access"].startswith("access-")
    assert outcome(result, TABLE).details["failed_businesses"] == [str(damaged)]


def test_after_many_requests_without_an_answer_the_others_are_left_to_the_next_run(bon: Bon) -> None:
    for _ in range(150):
        bon.add_credential()
    url = bon.environ["BON_SHAAM_TOKEN_URL"]
    bon.environ["BON_SHAAM_TOKEN_URL"] = "http://127.0.0.1:1/token"

    down = bon.run(JOB)
    bon.environ["BON_SHAAM_TOKEN_URL"] = url
    up = bon.run(JOB)

    assert (down.status, outcome(down, TABLE).failed, outcome(down, TABLE).matched) == ("failed", 150, 150)
    assert "not tried" in (down.error or "")
    assert outcome(up, TABLE).updated == 150


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BON_SHAAM_TOKEN_URL", ""),
        ("BON_SHAAM_TOKEN_URL", "http://planted.example/token"),
        ("BON_SHAAM_CLIENT_ID", ""),
        ("BON_SHAAM_CLIENT_SECRET", ""),
        ("BON_SHAAM_CLIENT_AUTH", "planted"),
        ("BON_SHAAM_ENCRYPTION_KEY", ""),
        ("BON_SHAAM_ENCRYPTION_KEY", "planted"),
    ],
)
def test_a_mistake_in_the_settings_is_named_before_anything_is_done(bon: Bon, name: str, value: str) -> None:
    business = bon.add_credential(token="r-1")
    bon.environ[name] = value

    result = bon.run(JOB)

    assert result.status == "failed"
    assert name in (result.error or "")
    assert bon.provider.requests == []
    assert bon.credential(business)["refresh"] == "r-1"


def test_no_token_and_no_address_is_in_what_a_run_says(bon: Bon, capfd: pytest.CaptureFixture[str]) -> None:
    owner = bon.add_user(email="planted@example.org", name="Planted")
    for token in ("planted-fine", "planted-revoked", "planted-failing"):
        bon.add_credential(bon.add_business(owner, name="Planted Ltd"), token=token)
    bon.provider.revoke("planted-revoked")
    bon.provider.fail_for("planted-failing", 400, "invalid_request")

    result = bon.run(JOB, settle_seconds=0)

    ledger = str(bon.rows("SELECT row_to_json(e)::text FROM maintenance.ledger_event e"))
    notices = str(bon.rows("SELECT row_to_json(e)::text FROM maintenance.sent_notice e"))
    said = f"{result} {result.as_json()} {bon.reporter.lines} {capfd.readouterr()} {ledger} {notices}"
    assert "lanted" not in said
    assert bon.environ["BON_SHAAM_CLIENT_SECRET"] not in said


# Many at once, and twice at once


def test_refreshes_many_at_once_and_no_more_than_the_bound(bon: Bon) -> None:
    for _ in range(40):
        bon.add_credential()
    bon.provider.seconds = 0.05

    result = bon.run(JOB, concurrency=8)

    assert outcome(result, TABLE).updated == 40
    assert 1 < bon.provider.most_at_once <= 8
    assert len(set(bon.provider.spent)) == 40


def test_two_runs_at_once_spend_no_token_twice(bon: Bon) -> None:
    for number in range(30):
        bon.add_credential(token=f"r-{number}")
    bon.provider.seconds = 0.02
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: bon.run(JOB), range(2)))

    assert sorted(bon.provider.spent) == sorted(f"r-{number}" for number in range(30))


def refresher(bon: Bon) -> Refresher:
    def ask(token: str) -> Grant:
        with closing(
            TokenEndpoint(
                bon.provider.token_url,
                client_id="client",
                client_secret="secret",
                auth=ClientAuth.BASIC,
                now=now,
                timeout=10,
                connections=1,
            )
        ) as endpoint:
            return endpoint.refresh(token)

    def now() -> datetime:
        return datetime.now(UTC)

    return Refresher(
        ask=ask,
        cipher=TokenCipher(KEY, "KEY"),
        until=bon.as_of + timedelta(minutes=20),
        default_lifetime=timedelta(hours=1),
        now=now,
        on_change=lambda connection, ended: None,
    )


def test_two_that_hold_no_lock_of_the_job_spend_no_token_twice(bon: Bon) -> None:
    """As when one has lost its connection, and the job's lock with it, and goes on for a while."""
    businesses = [bon.add_credential(token=f"r-{number}") for number in range(20)]
    bon.provider.seconds = 0.02

    def run_all(_: int) -> list[Ended]:
        engine = open_engine(bon.url, variable="URL", application_name="one")
        with Database(engine) as database:
            return [refresher(bon).refresh(database, business) for business in businesses]

    with ThreadPoolExecutor(3) as pool:
        endings = [ended.ending for all_ended in pool.map(run_all, range(3)) for ended in all_ended]

    assert sorted(bon.provider.spent) == sorted(f"r-{number}" for number in range(20))
    assert endings.count(Ending.REFRESHED) == 20
    assert endings.count(Ending.SKIPPED) == 40


def test_a_credential_that_another_session_has_locked_is_skipped(bon: Bon) -> None:
    locked, other = bon.add_credential(), bon.add_credential()
    with psycopg.connect(bon.url) as session:
        session.execute(f"SELECT 1 FROM {TABLE} WHERE business_id = %s FOR UPDATE", [locked])

        result = bon.run(JOB)

    assert (result.status, outcome(result, TABLE).skipped, outcome(result, TABLE).updated) == ("success", 1, 1)
    assert bon.credential(locked)["access"] == "old-access"
    assert bon.credential(other)["access"].startswith("access-")


# What the service does itself meanwhile


def written_by_the_service(bon: Bon, business: uuid.UUID, assignments: str, *values: object) -> threading.Thread:
    """Write to a credential as the service does, once the provider was asked: the job's lock on the row holds it up."""

    def write() -> None:
        wait_until(lambda: len(bon.provider.requests) > 0)
        with psycopg.connect(bon.url) as session:
            session.execute(f"UPDATE {TABLE} SET {assignments} WHERE business_id = %s", [*values, business])

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_a_credential_that_the_service_has_just_refreshed_is_not_flagged_and_refreshed_next_time(bon: Bon) -> None:
    cipher = TokenCipher(KEY, "KEY")
    business = bon.add_credential(token="first")
    bon.provider.revoke("first")
    writer = written_by_the_service(
        bon,
        business,
        "encrypted_access_token = %s, encrypted_refresh_token = %s, updated_at = now()",
        cipher.encrypt("theirs"),
        cipher.encrypt("second"),
    )

    result = bon.run(JOB, settle_seconds=60)
    writer.join()
    again = bon.run(JOB)

    assert (result.status, outcome(result, TABLE).skipped, outcome(result, TABLE).updated) == ("success", 1, 0)
    assert bon.smtp.sent == []
    assert bon.count("maintenance.sent_notice") == 0
    assert outcome(again, TABLE).updated == 1
    assert bon.credential(business)["refresh"] == "next-1-second"
    assert [request.refresh_token for request in bon.provider.requests] == ["first", "second"]


@pytest.mark.parametrize(
    "assignments", ["updated_at = now()", "token_expires_at = now()", "encrypted_access_token = 'another'"]
)
def test_a_row_that_changed_in_any_way_since_the_refusal_is_left_to_the_next_run(bon: Bon, assignments: str) -> None:
    """Its refresh token is the old one where the provider gives no new ones, and a refusal then means little."""
    business = bon.add_credential(token="kept")
    bon.provider.revoke("kept")
    writer = written_by_the_service(bon, business, assignments)

    result = bon.run(JOB, settle_seconds=2)
    writer.join()

    assert (result.status, outcome(result, TABLE).skipped) == ("success", 1)
    assert flagged(bon) == set()
    assert bon.smtp.sent == []


def test_a_flag_that_the_service_set_itself_stands_and_is_not_set_again(bon: Bon) -> None:
    business = bon.add_credential(token="revoked")
    bon.provider.revoke("revoked")
    writer = written_by_the_service(bon, business, "needs_reauth = true, updated_at = '2026-01-01'")

    result = bon.run(JOB, settle_seconds=2)
    writer.join()

    assert result.status == "success"
    assert bon.credential(business)["updated_at"].year == 2026
    assert flagged(bon) == {business}


def test_a_refused_token_is_not_asked_for_again_by_the_same_run(bon: Bon) -> None:
    bon.add_credential(token="revoked")
    bon.provider.revoke("revoked")

    bon.run(JOB, settle_seconds=1)

    assert len(bon.provider.requests) == 1


@pytest.mark.stack
def test_a_run_that_is_killed_before_a_refusal_was_judged_leaves_it_to_the_next(bon: Bon) -> None:
    business = bon.add_credential(token="revoked")
    bon.provider.revoke("revoked")
    with bon.child_running(JOB, "--set", "settle_seconds=60") as child:
        # Its row is let go meanwhile, for the service to write.
        wait_until(lambda: len(bon.provider.requests) == 1)
        bon.connection.execute(f"SELECT 1 FROM {TABLE} FOR UPDATE")
        child.kill()
        child.wait()
    assert flagged(bon) == set()
    wait_until(lambda: not bon.count("pg_stat_activity", f"application_name LIKE '{JOB}:%'"))

    bon.run(JOB, settle_seconds=0)

    assert flagged(bon) == {business}
    assert len(bon.smtp.sent) == 1


def test_nobody_is_flagged_where_the_provider_refuses_almost_everybody(bon: Bon) -> None:
    """As it does where our client's id is another's: RFC 6749, section 5.2."""
    tokens = [f"revoked-{number}" for number in range(12)]
    for token in tokens:
        bon.add_credential(token=token)
        bon.provider.revoke(token)
    bon.add_credential()

    result = bon.run(JOB, settle_seconds=0)
    held = flagged(bon)
    told = bon.run(JOB, settle_seconds=0, allow_large=True)

    assert (result.status, held) == ("failed", set())
    assert (outcome(result, TABLE).updated, outcome(result, TABLE).failed) == (1, 12)
    assert "allow_large" in (result.error or "")
    assert (told.status, len(flagged(bon)), len(bon.smtp.sent)) == ("success", 12, 12)


# What is lost on the way


def end_sessions(bon: Bon) -> None:
    """End the sessions in which a refresh is under way."""
    bon.connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
        f" AND application_name LIKE '{JOB}:%' AND state = 'idle in transaction'"
    )


def test_new_tokens_are_saved_though_the_connection_was_lost_while_the_provider_answered(bon: Bon) -> None:
    business = bon.add_credential(token="r-1")
    bon.provider.before_answer = lambda: end_sessions(bon)

    result = bon.run(JOB)

    assert (result.status, outcome(result, TABLE).updated) == ("success", 1)
    assert bon.provider.spent == ["r-1"]
    assert bon.credential(business)["refresh"] == "next-1-r-1"


def test_new_tokens_do_not_replace_those_of_an_owner_who_authorised_meanwhile(bon: Bon) -> None:
    business = bon.add_credential(token="r-1")
    theirs = TokenCipher(KEY, "KEY").encrypt("theirs")

    def authorise() -> None:
        end_sessions(bon)
        bon.connection.execute(
            f"UPDATE {TABLE} SET encrypted_refresh_token = %s WHERE business_id = %s", [theirs, business]
        )

    bon.provider.before_answer = authorise

    result = bon.run(JOB)

    assert bon.credential(business)["refresh"] == "theirs"
    assert bon.credential(business)["access"] == "old-access"
    assert (outcome(result, TABLE).updated, outcome(result, TABLE).skipped) == (0, 1)


def test_new_tokens_are_saved_though_whoever_lost_the_race_for_them_has_flagged_the_row(bon: Bon) -> None:
    """The service asks with the token that was spent here, is refused, and flags, before ours are saved."""
    business = bon.add_credential(token="r-1")

    def flag() -> None:
        end_sessions(bon)
        bon.connection.execute(f"UPDATE {TABLE} SET needs_reauth = true WHERE business_id = %s", [business])

    bon.provider.before_answer = flag

    result = bon.run(JOB)

    stored = bon.credential(business)
    assert (stored["refresh"], stored["needs_reauth"]) == ("next-1-r-1", False)
    assert (result.status, outcome(result, TABLE).updated) == ("success", 1)


def test_the_service_s_own_write_waits_for_a_refresh_under_way_and_wins(bon: Bon) -> None:
    business = bon.add_credential(token="r-1")
    theirs = TokenCipher(KEY, "KEY").encrypt("theirs")
    with ThreadPoolExecutor(1) as pool:
        writes = []

        def authorise() -> None:
            writes.append(
                pool.submit(
                    bon.connection.execute,
                    f"UPDATE {TABLE} SET encrypted_refresh_token = %s WHERE business_id = %s",
                    [theirs, business],
                )
            )

        bon.provider.before_answer = authorise
        bon.run(JOB)
        writes[0].result(timeout=PATIENCE_SECONDS)

    assert bon.credential(business)["refresh"] == "theirs"
    assert bon.credential(business)["access"] == "access-1-r-1"


@pytest.mark.stack
def test_a_run_that_is_killed_between_the_answer_and_our_commit_loses_that_token_and_says_so(bon: Bon) -> None:
    """What cannot be prevented: docs/adr/0016-token-refresh.md."""
    business = bon.add_credential(token="r-1")
    other = bon.add_credential(token="r-2", minutes=10)
    is_spent, is_dead = threading.Event(), threading.Event()

    def hold() -> None:
        is_spent.set()
        is_dead.wait(30)

    bon.provider.before_answer = hold
    with bon.child_running(JOB, "--set", "concurrency=1") as child:
        assert is_spent.wait(20)
        child.kill()
        child.wait()
    bon.provider.before_answer = lambda: None
    is_dead.set()
    wait_until(lambda: not bon.count("pg_stat_activity", f"application_name LIKE '{JOB}:%'"))
    assert bon.credential(business)["refresh"] == "r-1"

    result = bon.run(JOB, settle_seconds=0)

    assert result.status == "success"
    assert flagged(bon) == {business}
    assert len(bon.smtp.sent) == 1
    assert bon.credential(other)["refresh"] == "next-2-r-2"


@pytest.mark.stack
def test_a_run_that_is_asked_to_end_saves_what_it_has_spent_first(bon: Bon) -> None:
    business, other = bon.add_credential(token="r-1"), bon.add_credential(token="r-2", minutes=10)
    is_spent, may_answer = threading.Event(), threading.Event()

    def hold() -> None:
        is_spent.set()
        may_answer.wait(30)

    bon.provider.before_answer = hold
    with bon.child_running(JOB, "--set", "concurrency=1") as child:
        assert is_spent.wait(20)
        child.terminate()
        threading.Timer(0.3, may_answer.set).start()
        assert child.wait(20) == 143

    assert bon.credential(business)["refresh"] == "next-1-r-1"
    assert bon.credential(other)["refresh"] == "r-2"
    assert bon.rows("SELECT updated, outcome FROM maintenance.purge_ledger") == [(1, "interrupted")]


@pytest.mark.stack
def test_an_owner_is_told_though_the_run_that_flagged_the_business_was_killed(bon: Bon) -> None:
    business = bon.add_credential(token="revoked")
    bon.provider.revoke("revoked")
    bon.smtp.drop_next("DATA", after_seconds=30, takes=True)
    with bon.child_running(JOB, "--set", "settle_seconds=0") as child:
        wait_until(lambda: len(bon.smtp.sent) == 1)
        child.kill()
        child.wait()
    assert flagged(bon) == {business}

    result = bon.run(JOB, settle_seconds=0)

    assert outcome(result, "mail").notified == 1
    first, second = bon.smtp.sent
    # The first may not have arrived; a mail program sees that they are the same.
    assert first.message_id == second.message_id


def test_an_owner_who_has_authorised_again_meanwhile_is_not_told(bon: Bon) -> None:
    business = bon.add_credential(token="revoked")
    bon.provider.revoke("revoked")
    bon.smtp.stop()
    failed = bon.run(JOB, settle_seconds=0)
    bon.smtp.start()
    bon.connection.execute(f"UPDATE {TABLE} SET needs_reauth = false, token_expires_at = now() + interval '1 day'")

    bon.run(JOB, settle_seconds=0)

    assert failed.status == "failed"
    assert business not in flagged(bon)
    assert bon.smtp.sent == []
